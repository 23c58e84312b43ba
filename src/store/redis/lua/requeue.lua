-- Moves entries of an outbox without queues to theirs.
--
-- KEYS: 1 the outbox.
-- ARGV: for each entry its id, the score that it was found with, and the score of its queue.
-- Answer: how many were moved. An entry that somebody else has moved, or has claimed since, is left alone.

local moved = 0
for place = 1, #ARGV, 3 do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[place])
  if score and tonumber(score) == tonumber(ARGV[place + 1]) then
    redis.call('ZADD', KEYS[1], ARGV[place + 2], ARGV[place])
    moved = moved + 1
  end
end
return moved
