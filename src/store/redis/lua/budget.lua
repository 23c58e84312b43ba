-- Takes from what is left of a campaign's budget.
--
-- KEYS: 1 budgets.
-- ARGV: campaign, total, how many are wanted.
-- Answer: how many were taken. What was taken stays taken, whether the answer arrives or not.

local spent = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0)
local taken = math.max(0, math.min(tonumber(ARGV[3]), tonumber(ARGV[2]) - spent))
redis.call('HINCRBY', KEYS[1], ARGV[1], string.format('%.0f', taken))
return taken
