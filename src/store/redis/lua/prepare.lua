-- The first stage of a transfer, at every partition but its home: judges this partition's part and locks it.
--
-- KEYS: those of shopper.lua.
-- ARGV: the transfer's id, the number of its home, number of items, items, number of operations, operations.
-- Answer: two words. `ready`, or `already`, and nothing: all of it is locked now. Or why not, as in commit.lua: then
--   nothing is locked.

local transfer, home = take(), take()
local items = take_all(take_item)
local operations = take_all(take_operation)
local answer = 'ready'
for _, item in ipairs(items) do
  local why, more = judge(item, transfer)
  if why == 'already' then
    answer = why
  elseif why then
    return { why, more or '' }
  end
end
local refusal = judge_operations(operations, transfer)
if refusal then
  return refusal
end
next_number()
local lock = transfer .. ' ' .. home .. ' ' .. now_ms()
for _, item in ipairs(items) do
  call('HSET', LOCKS, 's' .. item.id, lock)
end
for _, operation in ipairs(operations) do
  call('HSET', LOCKS, operation.lock, lock)
end
return { answer, '' }
