-- Keeps a milestone that was reported from outside, each kind once.
--
-- KEYS: 1 lives, 2 ended, 3 counters.
-- ARGV: message id, milestone, time, the fact to be kept or nothing if a report of this kind says nothing.
-- Answer: 1 if there is such a message, or 0; -1 if its life can't be read. A life that is over is kept on from the
--   report's time.

local id, milestone, at, fact = unpack(ARGV)
local life = redis.call('HGET', KEYS[1], id)
if not life then
  return 0
end
local head, latest, reported, facts = string.match(life, '^(%d+ %d+ %-?%d+) (%-?%d+) (%S*)\n(.*)$')
if not head then
  return -1
end
redis.call('HINCRBY', KEYS[3], 'number', 1)
if fact ~= '' and not string.find(',' .. reported, ',' .. milestone .. ',', 1, true) then
  if tonumber(at) > tonumber(latest) then
    latest = at
    redis.call('ZADD', KEYS[2], 'XX', 'GT', at, id)
  end
  redis.call('HSET', KEYS[1], id, head .. ' ' .. latest .. ' ' .. reported .. milestone .. ',\n' .. facts .. fact)
end
return 1
