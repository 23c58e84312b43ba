-- Forgets old journal rows of some shoppers.
--
-- KEYS: 1 journals, then for each shopper the journal.
-- ARGV: the time before which rows must have been recorded, then the shoppers.
-- It works when memory is full.

for place = 2, #ARGV do
  local journal = KEYS[place]
  redis.call('ZREMRANGEBYSCORE', journal, '-inf', '(' .. ARGV[1])
  local oldest = redis.call('ZRANGE', journal, 0, 0, 'WITHSCORES')[2]
  if oldest then
    redis.call('ZADD', KEYS[1], oldest, ARGV[place])
  else
    redis.call('ZREM', KEYS[1], ARGV[place])
  end
end
return 1
