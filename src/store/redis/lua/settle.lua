-- Ends claims.
--
-- KEYS: 1 lives, 2 ended, 3 counters, 4 to 7 the outbox of each channel.
-- ARGV: for each settlement: message id, channel from 1, lease number, time, attempts, the new due time or nothing if
--   its life is over, and the fact to be kept.
-- Answer: how many counted. One whose lease is not the entry's any more does not. It works when memory is full, for what
--   was sent must not be sent again.

redis.call('HINCRBY', KEYS[3], 'number', 1)
local counted = 0
for place = 1, #ARGV, 7 do
  local id, channel, lease, at, attempts, due, fact = unpack(ARGV, place, place + 6)
  local life = redis.call('HGET', KEYS[1], id) or ''
  local held, before, latest, rest = string.match(life, '^%d+ (%d+) (%-?%d+) (%-?%d+)( %S*\n.*)$')
  local outbox = KEYS[3 + tonumber(channel)]
  if held == lease and redis.call('ZSCORE', outbox, id) then
    if tonumber(at) > tonumber(latest) then
      latest = at
    end
    if due == '' then
      redis.call('ZREM', outbox, id)
      redis.call('ZADD', KEYS[2], latest, id)
    else
      redis.call('ZADD', outbox, due, id)
      before = due
    end
    -- No entry is leased under 0, so the lease counts once.
    redis.call('HSET', KEYS[1], id, attempts .. ' 0 ' .. before .. ' ' .. latest .. rest .. fact)
    counted = counted + 1
  end
end
return counted
