-- Finds what crashed nodes have left in a partition, and forgets marks of aborted transfers.
--
-- KEYS: 1 locks, 2 transfers.
-- ARGV: how old a lock or a decided transfer must be in ms, how old a mark must be in ms.
-- Answer: for each transfer that should be resolved, its id and the number of its home, or -1 if that is here.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer, known = {}, {}
if redis.call('HLEN', KEYS[1]) > 0 then
  for _, lock in ipairs(redis.call('HVALS', KEYS[1])) do
    local id, home, at = string.match(lock, '^(%x+) (%d+) (%d+)$')
    if id and not known[id] and math.abs(now - at) >= tonumber(ARGV[1]) then
      known[id] = true
      table.insert(answer, id)
      table.insert(answer, tonumber(home))
    end
  end
end
if redis.call('HLEN', KEYS[2]) > 0 then
  local transfers = redis.call('HGETALL', KEYS[2])
  for place = 1, #transfers, 2 do
    local sign, at = string.match(transfers[place + 1], '^([+-]) (%d+)\n')
    if sign == '+' and math.abs(now - at) >= tonumber(ARGV[1]) then
      table.insert(answer, transfers[place])
      table.insert(answer, -1)
    elseif sign == '-' and now - at >= tonumber(ARGV[2]) then
      redis.call('HDEL', KEYS[2], transfers[place])
    end
  end
end
return answer
