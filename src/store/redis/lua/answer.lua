-- Keeps the first answer under an idempotency key.
--
-- KEYS: 1 answers, 2 the times of the answers.
-- ARGV: key, answer, time.
-- Answer: 1 if it is the first, or 0.

local first = redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
if first == 1 then
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
else
  -- Replicas acknowledge only what is written, and an earlier call may have lost its answer.
  redis.call('ZADD', KEYS[2], 'NX', ARGV[3], ARGV[1])
end
return first
