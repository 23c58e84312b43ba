-- What became of a transfer whose lock somebody has met, asked at its home. If it is not decided, it never will be: a
-- mark stays, so that a decision that is still under way is refused.
--
-- KEYS: 1 transfers.
-- ARGV: the transfer's id.
-- Answer: what the other partitions must apply, or nothing if the transfer is aborted.

local time = redis.call('TIME')
local found = redis.call('HGET', KEYS[1], ARGV[1])
if not found then
  found = string.format('- %.0f\n', time[1] * 1000 + math.floor(time[2] / 1000))
  redis.call('HSET', KEYS[1], ARGV[1], found)
end
if string.sub(found, 1, 1) == '+' then
  return string.sub(found, string.find(found, '\n', 1, true) + 1)
end
return false
