-- Commits shoppers of one partition, each for itself.
--
-- KEYS: those of shopper.lua.
-- ARGV: 1 if anything but tracks is written or 0, number of items, items.
-- Answer: for each item two words. The new version; or `already` and the version, `conflict`, `directory` (devices or
--   orders change, which takes a transfer), `locked` and the lock, `corrupt` and the id. Of one who is not at a version,
--   nothing was done now.

local number = 0
if take() == '1' then
  number = next_number()
end
local answers = {}
for _ = 1, tonumber(take()) do
  local item = take_item()
  local why, more = judge(item)
  table.insert(answers, why or apply(item, number))
  table.insert(answers, more or '')
end
return answers
