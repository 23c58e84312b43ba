-- Puts objects of the control plane, as a whole, if nobody has changed it since.
--
-- KEYS: 1 the catalog.
-- ARGV: the generation that was read; then for each object its field, and its JSON or nothing to delete it.
-- Answer: the new generation, or -1 if somebody was faster.

if (redis.call('HGET', KEYS[1], 'generation') or '0') ~= ARGV[1] then
  return -1
end
for place = 2, #ARGV, 2 do
  if ARGV[place + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[place])
  else
    redis.call('HSET', KEYS[1], ARGV[place], ARGV[place + 1])
  end
end
return redis.call('HINCRBY', KEYS[1], 'generation', 1)
