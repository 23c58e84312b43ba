-- Ends claims, each with what follows from it.
--
-- KEYS: those of shopper.lua; of a shopper only the ids of the messages, and only if something follows.
-- ARGV: number of settlements; each is a message id, channel from 1, lease number, time, attempts, the new due time and its
--   score or two times nothing if its life is over, 1 if it was given up or 0, the fact to be kept; then the shopper, the
--   place of the key in KEYS or 0, the number of messages that follow, and these as in an item.
-- Answer: how many counted. One whose lease is not the entry's any more does not, and nothing follows from it. Where nothing
--   is added it works when memory is full, for what was sent must not be sent again.

local function take_settlement()
  local it = { id = take(), channel = take(), lease = take(), at = take(), attempts = take() }
  it.due = take()
  it.score = take()
  it.is_dead = take() == '1'
  it.fact = take()
  it.next = { id = take(), keys = tonumber(take()), messages = take_all(take_message) }
  return it
end

next_number()
local counted = 0
for _, it in ipairs(take_all(take_settlement)) do
  local life = call('HGET', LIVES, it.id) or ''
  local held, due, latest, rest = string.match(life, '^%d+ (%d+) (%-?%d+) (%-?%d+)( %S*\n.*)$')
  local outbox = KEYS[OUTBOX + tonumber(it.channel)]
  if held == it.lease and call('ZSCORE', outbox, it.id) then
    if tonumber(it.at) > tonumber(latest) then
      latest = it.at
    end
    if it.due == '' then
      call('ZREM', outbox, it.id)
      call('ZADD', ENDED, latest, it.id)
      if it.is_dead then
        call('ZADD', DEAD, it.at, it.id)
      end
    else
      call('ZADD', outbox, it.score, it.id)
      due = it.due
    end
    -- No entry is leased under 0, so the lease counts once.
    call('HSET', LIVES, it.id, it.attempts .. ' 0 ' .. due .. ' ' .. latest .. rest .. it.fact)
    store_messages(it.next)
    counted = counted + 1
  end
end
return counted
