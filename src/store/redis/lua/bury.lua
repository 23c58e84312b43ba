-- Lists messages that were given up before there was a list.
--
-- KEYS: 1 lives, 2 dead.
-- ARGV: for each message its id and when it was given up.
-- Answer: how many there are. One that was forgotten meanwhile is left out.

local known = 0
for place = 1, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[1], ARGV[place]) == 1 then
    redis.call('ZADD', KEYS[2], ARGV[place + 1], ARGV[place])
    known = known + 1
  end
end
return known
