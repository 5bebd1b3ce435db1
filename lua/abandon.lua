-- Gives back a lead that left the token as it was, with its permit, its probe and its charge; or an attempt that may
-- still be on its way, with its place in the queue.
--
-- KEYS[1] lock      string, the owner: the leader
-- KEYS[2] flight    hash, the record
-- KEYS[3] attempts  hash, how often the session led
-- KEYS[4] permits   sorted set, the flights that ask the provider now
-- KEYS[5] budget    string, how many do
-- KEYS[6] queue     sorted set, the clients whose flights wait for a permit
-- KEYS[7] circuit   hash, whether the provider is left in peace
-- ARGV[1] attempt   the caller's local flight
-- ARGV[2] own_fence its fence, 0 when a begin or a renewal of it may still be on its way
-- ARGV[3] lease_ms  how long an attempt that has not arrived is expected
-- ARGV[4] name      the flight's, for the message
-- ARGV[5] channels  the channels of the pods, without the pod
-- ARGV[6] pod       the caller's pod
-- ARGV[7] limit     how many permits there are
-- ARGV[8] called_ms how long a permit is kept for a flight that was called from the queue
-- ARGV[9] client_name  the caller's client by its id, '' where it has not asked for a permit
--
-- Replies
--   {'abandoned'}   the lead was given back; waiting pods are told to look
--   {'marked'}      the attempt has not arrived; should it, it finds itself abandoned
--   {'stale'}       somebody else has the flight; nothing was changed
assert(#KEYS == 7 and #ARGV == 9, 'abandon: 7 keys, 9 arguments')
local lock, flight, attempts, circuit = KEYS[1], KEYS[2], KEYS[3], KEYS[7]
local attempt, own_fence, lease_ms, name, channels = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]

local now = read_clock()
local budget = {permits = KEYS[4], counter = KEYS[5], queue = KEYS[6], limit = tonumber(ARGV[7]), lease_ms = lease_ms,
  called_ms = tonumber(ARGV[8]), channels = channels, now = now}
local record = read_record(flight)
local leads = record.attempt == attempt and (record.state == 'leading' or record.state == 'lost')

if not leads then
  if own_fence > 0 then
    return {'stale'}
  end
  -- Older marks than one lease make way: on a token that is asked for all the time they would pile up, and every begin
  -- reads them all.
  for field, at in pairs(record) do
    if string.sub(field, 1, 10) == 'abandoned:' and passed_ms(at, now) >= lease_ms then
      redis.call('HDEL', flight, field)
    end
  end
  if not record['abandoned:' .. attempt] then
    redis.call('HSET', flight, 'abandoned:' .. attempt, now)
  end
  keep_at_least(flight, lease_ms)
  pcall(leave_queue, budget, table.concat({ARGV[6], attempt, name}, ' '), ARGV[9])
  if record.family then
    pcall(leave_order, flight, string.match(record.family, '^%x+'), table.concat({ARGV[6], attempt, name}, ' '), channels, now, tonumber(ARGV[8]))
  end
  return {'marked'}
end

if redis.call('MGET', lock)[1] == record.owner then
  redis.call('DEL', lock)
end
-- By pcall, as all that belongs to others: a lead is given back, whatever is wrong with a key of theirs.
pcall(free_permit, budget, record.owner)
redis.pcall('HDEL', circuit, 'probe:' .. record.fence)
pcall(uncharge_attempt, attempts, record.charged_window)
undo_lead(flight, record, lease_ms)
-- A repeated begin or renewal of this attempt may still be on its way.
redis.call('HSET', flight, 'abandoned:' .. attempt, now)
keep_at_least(flight, lease_ms)
tell_waiting(flight, channels, 'look ' .. name)
if record.family then
  pcall(wake_family, flight, string.match(record.family, '^%x+'), channels, now, tonumber(ARGV[8]))
end
pcall(settle, budget)
return {'abandoned'}
