-- Gives due wakes to a node, and to no other for a while.
--
-- KEYS: 1 wakes.
-- ARGV: until when they are given, then for each wake its shopper and the score that it was found with.
-- Answer: the shoppers whose wake still has this score.

local answer = {}
for place = 2, #ARGV, 2 do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[place])
  if score and tonumber(score) == tonumber(ARGV[place + 1]) then
    redis.call('ZADD', KEYS[1], ARGV[1], ARGV[place])
    table.insert(answer, ARGV[place])
  end
end
return answer
