-- Lands an outcome, frees its owner's lock, permit and probe, moves the circuit, tells every waiting pod and calls the
-- next of the queue.
--
-- Judged by the fence of the flight, not by the lock: a success replaces a failure whatever the fences; a failure
-- lands only under the flight's own fence and when nothing has landed; the first success stays.
--
-- KEYS[1] lock      string, the owner: the leader
-- KEYS[2] flight    hash, the record
-- KEYS[3] fence     string, the last fence given
-- KEYS[4] attempts  hash, how often the session led
-- KEYS[5] permits   sorted set, the flights that ask the provider now
-- KEYS[6] budget    string, how many do
-- KEYS[7] queue     sorted set, the flights that wait for a permit
-- KEYS[8] circuit   hash, whether the provider is left in peace
-- ARGV[1] owner     the caller, <pod>/<fence>
-- ARGV[2] attempt   the caller's local flight; completing it again changes nothing
-- ARGV[3] claim     what must be equal for an answer to be shared
-- ARGV[4] own_fence the caller's fence
-- ARGV[5] class     success, denied, busy, not_sent, unknown, lost: for the scripts and redis-cli; callers act on
--                   the sealed one
-- ARGV[6] token     what became of the token: rotated, kept, dead, untouched, unknown
-- ARGV[7] name      the flight's, for the message
-- ARGV[8] channels  the channels of the pods, without the pod
-- ARGV[9] sealed    the outcome
-- ARGV[10] session  the session's name, the flight's where the token is the session
-- ARGV[11] charge   'charged', or 'free' where the session does not pay for it
-- ARGV[12] health   what it says of the provider: healthy, failing, neutral, session_limited, fleet_limited
-- ARGV[13] lives_ms how long after the answer it is worth anything, '' for ever
-- ARGV[14] stay_away_ms   how long the provider asks to stay away, '' when it does not say
-- ARGV[15] times    numbers, packed as the settings are
-- TIME[1] held_ms   how long ago the provider answered, when this was sent
-- TIME[2] took_ms   how long it took to answer, from the lead on
-- TIME[3] fresh_ms  how long newcomers get the outcome
-- TIME[4] keep_ms   how long the record is kept
-- ARGV[16] settings numbers, 8 bytes each, big-endian: in one argument, because each costs as much as a small call
-- SETTING[1] late_ms    how long this may have been on its way
-- SETTING[2] wait_ms    how long the record is kept at least when pods wait
-- SETTING[3] memory_ms  how long it is remembered that a leader was lost
-- SETTING[4] lease_ms   how long an attempt that has not arrived is expected
-- SETTING[5] max_failures, SETTING[6] open_ms, SETTING[7] quiet_ms   the rules of the circuit
-- SETTING[8] limit      how many permits there are
-- SETTING[9] called_ms  how long a permit is kept for a flight that was called from the queue
--
-- Replies
--   {'landed'}                                 this outcome stands
--   {'stands', fence, attempt, age_ms, sealed} another one with the same claim stands
--   {'stale'}                                  nothing of it is kept; its callers have it anyway
--
-- Message to pods: 'landed <flight> <claim> <fence> <attempt> <held_ms>\n<sealed>' or 'look <flight>'
assert(#KEYS == 8 and #ARGV == 16, 'complete: 8 keys, 16 arguments')
local lock, flight, fence, attempts, permits, in_use_key, queue, circuit = unpack(KEYS)
local owner, attempt, claim, own_fence, class, token, name, channels, sealed, session, charge, health, lives_ms,
  stay_away_ms, times, settings = unpack(ARGV)
lives_ms, stay_away_ms = tonumber(lives_ms), tonumber(stay_away_ms)
local held_ms, took_ms, fresh_ms, keep_ms = struct.unpack('>I8I8I8I8', times)
local late_ms, wait_ms, memory_ms, lease_ms, max_failures, open_ms, quiet_ms, limit, called_ms =
  struct.unpack('>I8I8I8I8I8I8I8I8I8', settings)

local now = read_clock()
local budget = {permits = permits, counter = in_use_key, queue = queue, limit = limit, lease_ms = lease_ms,
  called_ms = called_ms, channels = channels, now = now}
local record = read_hash(flight)
-- A leader that takes or renews the lock of another owner writes the record anew: where the record says that this owner
-- leads, the lock is this owner's, or nobody's.
local holder = record.state == 'leading' and record.owner == owner and owner or redis.call('GET', lock)
-- Mostly none of them is there: one look instead of two.
local is_quiet = redis.call('EXISTS', circuit, queue) == 0
local circuit_now = is_quiet and {} or read_hash(circuit)
local state = record.state

-- Lock and permit are free, whatever lands.
free_permit(budget, owner)
if holder == owner then
  redis.call('DEL', lock)
end

-- Last: what has come free goes to the next of the queue.
local function done(reply)
  if circuit_now['probe:' .. own_fence] then
    -- A leader is done, and its outcome said nothing.
    redis.call('HDEL', circuit, 'probe:' .. own_fence)
  end
  if not is_quiet then
    settle(budget)
  end
  return reply
end

-- Again: it has landed already, and somebody may lead anew since.
if record.success_of == attempt or (state == 'landed' and record.attempt == attempt) then
  return done({'landed'})
end

-- begin.lua would have cleared an old outcome. A flight that was led without Redis, or that Redis has forgotten since, has
-- not gone through it: an outcome that was over before this flight began does not count.
if state == 'landed' then
  -- Two more: both spans are rounded up to whole ms.
  local began = now - held_ms - took_ms + 2
  local over = tonumber(record.class == 'success' and record.fresh_until or record.landed_at)
  if over <= began then
    state = nil
  end
end

local lands
if class == 'success' then
  lands = not (state == 'landed' and record.class == 'success')
else
  lands = (state == 'leading' or state == 'lost') and record.attempt == attempt and record.fence == own_fence
  if not state and not holder and token == 'unknown' then
    -- Redis has forgotten the flight; that the token is uncertain must not be forgotten with it.
    lands = true
  end
end
local waits, is_marked = waits_and_marks(record)
if not lands then
  tell_waiting(flight, waits, channels, 'look ' .. name)
  if state == 'landed' and record.claim == claim then
    return done({'stands', record.fence, record.attempt, passed_ms(record.landed_at, now), record.sealed})
  end
  return done({'stale'})
end

-- When the provider answered. What was long on its way here is older than it says.
local landed_at = now - held_ms
if record.attempt == attempt and record.started then
  landed_at = math.min(landed_at, math.max(record.started + took_ms, landed_at - late_ms))
end
if lives_ms then
  fresh_ms = math.max(0, math.min(fresh_ms, landed_at + lives_ms - now))
end

if record.attempt ~= attempt or record.fence ~= own_fence then
  -- Else they are there from the lead on.
  redis.call('HSET', flight, 'owner', owner, 'attempt', attempt, 'claim', claim, 'fence', own_fence)
end
redis.call('HSET', flight, 'state', 'landed', 'class', class, 'token', token, 'landed_at', whole(landed_at),
  'fresh_until', whole(now + fresh_ms), 'fresh_ms', whole(fresh_ms), 'sealed', sealed,
  'success_of', class == 'success' and attempt or record.success_of or 'none')
if waits then
  keep_ms = math.max(keep_ms, wait_ms)
end
if is_marked then
  keep_ms = math.max(keep_ms, lease_ms)
end
if (token == 'untouched' or token == 'unknown') and tonumber(record.lost or '0') > 0 then
  keep_ms = math.max(keep_ms, memory_ms)
end
redis.call('PEXPIRE', flight, whole(math.max(1, keep_ms)))

-- Once per flight, because a flight lands once: what it says of the provider, and what the session pays. Of one that is
-- not known any more nobody can say whether it was counted: this may be a repeat.
if state then
  learn(circuit, circuit_now, fence, {owner = owner, fence = own_fence, session = session, health = health,
    retry_ms = stay_away_ms}, now, {max_failures = max_failures, open_ms = open_ms, quiet_ms = quiet_ms,
    lease_ms = lease_ms})
end
if charge == 'free' then
  uncharge_attempt(attempts, record.charged)
end
if health == 'session_limited' and stay_away_ms then
  hold_session(attempts, now, stay_away_ms)
end
if token == 'dead' and session == name then
  redis.call('DEL', attempts)
end

if waits then
  -- Over 8 KiB it costs less to let the pods look that still wait than to send it to all.
  local message = 'look ' .. name
  if #sealed <= 8192 then
    message = table.concat({'landed', name, claim, own_fence, attempt, held_ms}, ' ') .. '\n' .. sealed
  end
  tell_waiting(flight, waits, channels, message)
end
return done({'landed'})
