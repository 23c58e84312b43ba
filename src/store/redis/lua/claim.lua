-- Leases entries of an outbox that were found due.
--
-- KEYS: 1 the outbox, 2 messages, 3 lives, 4 counters.
-- ARGV: the score of the end of the lease, then for each entry its id and the score that it was found with.
-- Answer: for each entry that still has this score, and so is nobody's: id, lease number, attempts, due time, message;
--   attempts and due time are empty if the life can't be read, the message if there is none. No entry is given twice
--   before its lease has ended.

local lease = redis.call('HINCRBY', KEYS[4], 'number', 1)
local answer = {}
for place = 2, #ARGV, 2 do
  local id = ARGV[place]
  local score = redis.call('ZSCORE', KEYS[1], id)
  if score and tonumber(score) == tonumber(ARGV[place + 1]) then
    redis.call('ZADD', KEYS[1], ARGV[1], id)
    local life = redis.call('HGET', KEYS[3], id) or ''
    local attempts, due, rest = string.match(life, '^(%d+) %d+ (%-?%d+)( %-?%d+ %S*\n.*)$')
    if attempts then
      redis.call('HSET', KEYS[3], id, attempts .. ' ' .. lease .. ' ' .. due .. rest)
    end
    for _, word in ipairs({ id, tostring(lease), attempts or '', due or '', redis.call('HGET', KEYS[2], id) or '' }) do
      table.insert(answer, word)
    end
  end
end
return answer
