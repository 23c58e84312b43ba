-- What the scripts that change shoppers share: how items and operations are read, judged and applied. Its text stands
-- before theirs.
--
-- KEYS: 1 shoppers, 2 wakes, 3 counters, 4 messages, 5 lives, 6 ended, 7 journals, 8 locks, 9 devices, 10 orders,
--   11 transfers, 12 to 15 the outbox of each channel, 16 dead; then, of each shopper whose item says so, three: the ids of the
--   messages, the journal, the tracks.
-- An item in ARGV is what is said of one shopper: id, kind, loaded version, the place of the three keys in KEYS or 0.
--   Kind R (replaced) continues with mark, directory, body and wake time or nothing; E (erased), U (unchanged) and
--   N (not spoken of) with nothing. Then the tracks or nothing; the number of messages, each with id, channel from 1,
--   due time, its score, time of its latest step and body; the number of events, each with its time and body.
-- An operation in ARGV is what becomes of an entry of a directory: kind, name, shopper, number of others, others.
--   Kind t: the device is the shopper's, if it was nobody's, the shopper's or one of the others'. Kind d: it is not the
--   shopper's. Kind a: the order is the shopper's too. Kind r: it is not the shopper's. No two operations of a transfer
--   speak of one device, or of one order and shopper.
-- Promise: judging changes nothing. What is judged and applied in one script takes effect as a whole.

local SHOPPERS, WAKES, COUNTERS, MESSAGES, LIVES, ENDED = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local JOURNALS, LOCKS, DEVICES, ORDERS, TRANSFERS = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local OUTBOX, DEAD = 11, KEYS[16]
local CHANNELS = 4
-- Fifteen minutes: what a track sharpens is over by then.
local TRACK_MS = 900000
-- An erasure makes every version that was ever given in the partition worthless, for a shopper who comes back gets one
-- from a range of its own. Numbers are exact up to 2^53, so a partition can take two million erasures.
local RANGE = 4294967296

local call = redis.call
local cursor = 0

local function take()
  cursor = cursor + 1
  return ARGV[cursor]
end

local function now_ms()
  local time = call('TIME')
  return string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end

-- Numbers everything that is written; and that something is written lets replicas acknowledge it.
local function next_number()
  return call('HINCRBY', COUNTERS, 'number', 1)
end

local function take_message()
  return { take(), take(), take(), take(), take(), take() }
end

local function take_all(take_one)
  local all = {}
  for n = 1, tonumber(take()) do
    all[n] = take_one()
  end
  return all
end

local function take_item()
  local item = { id = take(), events = {} }
  item.kind = take()
  item.version = take()
  item.keys = tonumber(take())
  item.directory = ''
  if item.kind == 'R' then
    item.mark = take()
    item.directory = take()
    item.body = take()
    item.wake = take()
  end
  item.track = take()
  item.messages = take_all(take_message)
  for n = 1, tonumber(take()) do
    item.events[n] = { take(), take() }
  end
  return item
end

local function take_operation()
  local operation = { kind = take() }
  operation.name = take()
  operation.shopper = take()
  operation.others = {}
  for _ = 1, tonumber(take()) do
    operation.others[take()] = true
  end
  if operation.kind == 't' or operation.kind == 'd' then
    operation.lock = 'd' .. operation.name
  else
    -- Whether one shopper has an order does not depend on whether others have it.
    operation.lock = 'o' .. operation.name .. '\n' .. operation.shopper
  end
  return operation
end

local any_lock = call('HLEN', LOCKS) > 0

-- The lock on a name, unless it is this transfer's own.
local function lock_of(name, transfer)
  local lock = any_lock and call('HGET', LOCKS, name)
  if lock and not (transfer and string.sub(lock, 1, #transfer) == transfer) then
    return lock .. ' ' .. now_ms()
  end
end

local function follows(version, loaded)
  if loaded == '0' then
    return tonumber(version) % RANGE == 1
  end
  return tonumber(version) == tonumber(loaded) + 1
end

-- Nothing if the item can be applied, or why not. `already`: it is applied; the answer was lost.
local function judge(item, transfer)
  if item.kind == 'N' then
    return nil
  end
  local lock = lock_of('s' .. item.id, transfer)
  if lock then
    return 'locked', lock
  end
  local stored = call('HGET', SHOPPERS, item.id)
  local version, mark, directory = '0', '', ''
  if stored then
    version, mark, directory = string.match(stored, '^(%d+) (%x*) (%x*)\n')
    if not version then
      return 'corrupt', item.id
    end
  end
  if version ~= item.version then
    if item.kind == 'R' and mark == item.mark and follows(version, item.version) then
      return 'already', version
    end
    return 'conflict'
  end
  if not transfer and item.kind ~= 'U' and directory ~= item.directory then
    return 'directory'
  end
end

local function judge_operation(operation, transfer)
  local lock = lock_of(operation.lock, transfer)
  if lock then
    return 'locked', lock
  end
  if operation.kind == 't' then
    local owner = call('HGET', DEVICES, operation.name)
    if owner and owner ~= operation.shopper and not operation.others[owner] then
      return 'conflict'
    end
  end
end

-- The same of several, or nothing.
local function judge_operations(operations, transfer)
  for _, operation in ipairs(operations) do
    local why, more = judge_operation(operation, transfer)
    if why then
      return { why, more or '' }
    end
  end
end

local function erase(item)
  for _, id in ipairs(call('SMEMBERS', KEYS[item.keys])) do
    call('HDEL', MESSAGES, id)
    call('HDEL', LIVES, id)
    call('ZREM', ENDED, id)
    call('ZREM', DEAD, id)
    for channel = 1, CHANNELS do
      call('ZREM', KEYS[OUTBOX + channel], id)
    end
  end
  call('DEL', KEYS[item.keys], KEYS[item.keys + 1], KEYS[item.keys + 2])
  call('ZREM', JOURNALS, item.id)
  -- Of somebody unknown no version was ever given, and ranges are not to be had for the asking.
  if call('HDEL', SHOPPERS, item.id) == 1 then
    call('HINCRBY', COUNTERS, 'erasures', 1)
  end
  call('ZREM', WAKES, item.id)
  return '0'
end

local function replace(item)
  local version = tonumber(item.version) + 1
  if item.version == '0' then
    version = tonumber(call('HGET', COUNTERS, 'erasures') or 0) * RANGE + 1
  end
  version = string.format('%.0f', version)
  call('HSET', SHOPPERS, item.id, version .. ' ' .. item.mark .. ' ' .. item.directory .. '\n' .. item.body)
  if item.wake == '' then
    call('ZREM', WAKES, item.id)
  else
    call('ZADD', WAKES, item.wake, item.id)
  end
  return version
end

local function store_messages(item)
  for _, message in ipairs(item.messages) do
    local id, channel, due, score, latest, body = unpack(message)
    if call('HSETNX', MESSAGES, id, item.id .. '\n' .. body) == 1 then
      call('HSET', LIVES, id, '0 0 ' .. due .. ' ' .. latest .. ' \n')
      call('ZADD', KEYS[OUTBOX + tonumber(channel)], score, id)
      call('SADD', KEYS[item.keys], id)
    end
  end
end

-- Applies an item and gives the version that the shopper then has.
local function apply(item, number)
  local version = item.version
  if item.kind == 'R' then
    version = replace(item)
  elseif item.kind == 'E' then
    version = erase(item)
  end
  store_messages(item)
  for place, event in ipairs(item.events) do
    call('ZADD', KEYS[item.keys + 1], event[1], string.format('%013x%05x', number, place) .. event[2])
    call('ZADD', JOURNALS, 'LT', event[1], item.id)
  end
  if item.track ~= '' then
    call('SET', KEYS[item.keys + 2], version .. '\n' .. item.track, 'PX', TRACK_MS)
  end
  return version
end

-- Who has an order: ids in their order, one a line.
local function apply_to_order(operation)
  local shoppers = {}
  for id in string.gmatch(call('HGET', ORDERS, operation.name) or '', '[^\n]+') do
    if id ~= operation.shopper then
      table.insert(shoppers, id)
    end
  end
  if operation.kind == 'a' then
    table.insert(shoppers, operation.shopper)
  end
  if #shoppers == 0 then
    call('HDEL', ORDERS, operation.name)
  else
    table.sort(shoppers)
    call('HSET', ORDERS, operation.name, table.concat(shoppers, '\n'))
  end
end

local function apply_operation(operation)
  if operation.kind == 't' then
    call('HSET', DEVICES, operation.name, operation.shopper)
  elseif operation.kind == 'd' then
    if call('HGET', DEVICES, operation.name) == operation.shopper then
      call('HDEL', DEVICES, operation.name)
    end
  else
    apply_to_order(operation)
  end
end
