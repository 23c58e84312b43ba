-- The third stage of a transfer, at every partition but its home: applies what is locked for it, and unlocks it.
--
-- KEYS: those of shopper.lua.
-- ARGV: the transfer's id, number of items, items, number of operations, operations.
-- Promise: a repeat changes nothing, for the locks are gone. It works when memory is full, for what is decided must come
--   to its end.

local transfer = take()
local items = take_all(take_item)
local operations = take_all(take_operation)
local number = next_number()

local function unlock(name)
  local lock = call('HGET', LOCKS, name)
  return lock and string.sub(lock, 1, #transfer) == transfer and call('HDEL', LOCKS, name) == 1
end

for _, item in ipairs(items) do
  if unlock('s' .. item.id) then
    apply(item, number)
  end
end
for _, operation in ipairs(operations) do
  if unlock(operation.lock) then
    apply_operation(operation)
  end
end
return number
