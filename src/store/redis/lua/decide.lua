-- The second stage of a transfer, at its home: judges and applies the home's part, and writes down what the others must
-- apply. From here on the transfer is committed.
--
-- KEYS: those of shopper.lua.
-- ARGV: the transfer's id, 1 if it is only asked whether all is applied already or 0, what the others must apply or
--   nothing, number of items, items, number of operations, operations.
-- Answer: two words. `decided` and nothing; `already` and nothing; `aborted` and nothing if somebody who met a lock was
--   faster; or why not, as in commit.lua. Only after `decided` anything has changed.

local transfer, only_asked, rest = take(), take() == '1', take()
local items = take_all(take_item)
local operations = take_all(take_operation)
next_number()
if call('HEXISTS', TRANSFERS, transfer) == 1 then
  return { 'aborted', '' }
end
local done, open = 0, 0
for _, item in ipairs(items) do
  local why, more = judge(item, transfer)
  if why == 'already' then
    done = done + 1
  elseif why then
    return { why, more or '' }
  else
    open = open + 1
  end
end
if done > 0 and open == 0 then
  return { 'already', '' }
elseif done > 0 or only_asked then
  return { 'conflict', '' }
end
local refusal = judge_operations(operations, transfer)
if refusal then
  return refusal
end
local number = next_number()
for _, item in ipairs(items) do
  apply(item, number)
end
for _, operation in ipairs(operations) do
  apply_operation(operation)
end
if rest ~= '' then
  call('HSET', TRANSFERS, transfer, '+ ' .. now_ms() .. '\n' .. rest)
end
return { 'decided', '' }
