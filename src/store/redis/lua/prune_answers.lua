-- Forgets old answers, a bounded number a call.
--
-- KEYS: 1 answers, 2 the times of the answers.
-- ARGV: the time before which they must have been kept, how many at most.
-- Answer: how many were forgotten. It works when memory is full.

local old = redis.call('ZRANGE', KEYS[2], '-inf', '(' .. ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2])
for _, key in ipairs(old) do
  redis.call('HDEL', KEYS[1], key)
  redis.call('ZREM', KEYS[2], key)
end
return #old
