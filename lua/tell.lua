-- Ends, or makes longer, the time in which nobody is told of an outcome that has landed: its leader, or a flight that found the
-- outcome, does something before its callers hear of it (before_told).
--
-- KEYS[1] lock      string, the owner: the leader
-- KEYS[2] flight    hash, the record
-- KEYS[3] link      hash, the record of the token in the outcome
-- ARGV[1] act       'wait' a lease more; 'look', it did not succeed: pods that wait find the outcome and try it themselves;
--                   'tell', it succeeded: all are told, and the token in the outcome counts as used
-- ARGV[2] owner     the caller, <pod>/<fence>/<lease_ms>
-- ARGV[3] own_fence the outcome's fence
-- ARGV[4] lease_ms  how long it is waited at most for the caller to be heard of again
-- ARGV[5] name      the flight's, for the message
-- ARGV[6] channels  the channels of the pods, without the pod
-- ARGV[7] holder    who may say that the token in the outcome was used, '' where it is in no chain
-- ARGV[8] called_ms how long the turn is kept for a flight of its login that is called
--
-- Replies
--   {'waits'}   nobody is told for a lease more
--   {'told'}    all pods that wait are told, and callers that come
--   {'stale'}   this outcome does not stand, or was told already
assert(#KEYS == 3 and #ARGV == 8, 'tell: 3 keys, 8 arguments')
local lock, flight, link = unpack(KEYS)
local act, owner, own_fence, lease_ms, name, channels, holder, called_ms = unpack(ARGV)

local now = read_clock()
local record = read_record(flight)
if act == 'tell' and holder ~= '' then
  local generation, holder_there = unpack(redis.call('HMGET', link, 'generation', 'holder'))
  if generation and holder_there == holder then
    -- As if somebody had come with it: what is held for the token before it is over for all that come with that.
    redis.call('HSET', link, 'used', generation)
  end
end
if record.state ~= 'landed' or record.fence ~= own_fence or record.untold ~= own_fence then
  return {'stale'}
end
local leader = redis.call('MGET', lock)[1]
local is_free = not leader or leader == owner
if act == 'wait' then
  if not is_free then
    return {'stale'}
  end
  redis.call('SET', lock, owner, 'PX', lease_ms)
  keep_at_least(flight, tonumber(lease_ms))
  return {'waits'}
end
if leader == owner then
  redis.call('DEL', lock)
end
local message = 'look ' .. name
if act == 'tell' then
  redis.call('HDEL', flight, 'untold')
  if record.token_state == 'rotated' then
    -- Callers hear of it only now: those that come a moment later have it for as long as if it had just landed.
    redis.call('HSET', flight, 'fresh_until', whole(now + tonumber(record.fresh_ms)))
    keep_at_least(flight, tonumber(record.fresh_ms))
  end
  if #record.sealed <= 8192 and not record.ended then
    message = table.concat({'landed', name, record.claim, own_fence, record.attempt,
      whole(passed_ms(record.landed_at, now))}, ' ') .. '\n' .. record.sealed
  end
end
tell_waiting(flight, channels, message)
if record.family then
  -- Also of its own claim: they wait for it, too.
  pcall(wake_family, flight, string.match(record.family, '^%x+'), channels, now, tonumber(called_ms),
    redis.call('HGET', KEYS[3], 'entry'))
end
return {'told'}
