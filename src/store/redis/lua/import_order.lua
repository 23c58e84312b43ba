-- Enters a shopper who has an order, beside those who have it already: ids in their order, one a line.
--
-- KEYS: 1 orders.
-- ARGV: order, shopper.

local shoppers = { ARGV[2] }
for id in string.gmatch(redis.call('HGET', KEYS[1], ARGV[1]) or '', '[^\n]+') do
  if id ~= ARGV[2] then
    table.insert(shoppers, id)
  end
end
table.sort(shoppers)
return redis.call('HSET', KEYS[1], ARGV[1], table.concat(shoppers, '\n'))
