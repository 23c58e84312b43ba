-- Takes back a transfer that was not decided: unlocks what a partition has locked for it.
--
-- KEYS: 1 locks.
-- ARGV: the transfer's id.
-- Answer: how many locks it held. The hash is small: it holds what is under way at one moment.

local released = 0
local locks = redis.call('HGETALL', KEYS[1])
for place = 1, #locks, 2 do
  if string.sub(locks[place + 1], 1, #ARGV[1]) == ARGV[1] then
    released = released + redis.call('HDEL', KEYS[1], locks[place])
  end
end
return released
