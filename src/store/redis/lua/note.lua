-- Keeps a small named value, if nobody has changed it since.
--
-- KEYS: 1 notes.
-- ARGV: name, the version that was read or 0, the value.
-- Answer: the new version, or -1 if somebody was faster. It works when memory is full: notes are few and small.

local version = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '0\n', '^(%d+)\n')
if version ~= ARGV[2] then
  return -1
end
version = string.format('%.0f', tonumber(version) + 1)
redis.call('HSET', KEYS[1], ARGV[1], version .. '\n' .. ARGV[3])
return tonumber(version)
