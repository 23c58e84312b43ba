-- Forgets messages whose lives have ended long ago.
--
-- KEYS: 1 messages, 2 lives, 3 ended, 4 dead, then for each message the ids of its shopper's messages.
-- ARGV: the time before which they must have ended, then the message ids.
-- Promise: a life that a report has raised meanwhile is kept. It works when memory is full.

local horizon = tonumber(ARGV[1])
for place = 2, #ARGV do
  local id = ARGV[place]
  local ended = redis.call('ZSCORE', KEYS[3], id)
  if ended and tonumber(ended) < horizon then
    redis.call('HDEL', KEYS[1], id)
    redis.call('HDEL', KEYS[2], id)
    redis.call('ZREM', KEYS[3], id)
    redis.call('ZREM', KEYS[4], id)
    redis.call('SREM', KEYS[3 + place], id)
  end
end
return 1
