-- Takes in a shopper from another store.
--
-- KEYS: 1 shoppers, 2 wakes, 3 counters.
-- ARGV: shopper, the range of the version, the record, wake time or nothing.
-- Promise: whoever comes back after an erasure gets a version from a range that was never used, in the other store either.

redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[4] == '' then
  redis.call('ZREM', KEYS[2], ARGV[1])
else
  redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
end
if tonumber(ARGV[2]) > tonumber(redis.call('HGET', KEYS[3], 'erasures') or 0) then
  redis.call('HSET', KEYS[3], 'erasures', ARGV[2])
end
return redis.call('HINCRBY', KEYS[3], 'number', 1)
