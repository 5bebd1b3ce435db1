-- Lands an outcome, frees its owner's lock, permit and probe, moves the circuit, tells every waiting pod and calls the
-- next of the queue.
--
-- Judged by the fence of the flight, not by the lock: a success replaces a failure whatever the fences; a failure
-- lands only under the flight's own fence and when nothing has landed; the first success stays.
--
-- KEYS[1] lock      string, the owner: who leads
-- KEYS[2] flight    hash, the record
-- KEYS[3] fence     string, the last fence given
-- KEYS[4] attempts  hash, how often the session led
-- KEYS[5] permits   sorted set, who asks the provider now
-- KEYS[6] budget    string, how many do
-- KEYS[7] queue     sorted set, who waits for a permit
-- KEYS[8] circuit   hash, whether the provider is left in peace
-- ARGV[1] owner     the caller, <pod>/<fence>
-- ARGV[2] attempt   the caller's local flight; completing it again changes nothing
-- ARGV[3] claim     what must be equal for an answer to be shared
-- ARGV[4] led       the caller's fence
-- ARGV[5] class     success, denied, busy, not_sent, unknown, lost: for redis-cli; callers act on the sealed one
-- ARGV[6] token     what became of the token: rotated, kept, dead, untouched, unknown
-- ARGV[7] held_ms   how long ago the provider answered, when this was sent
-- ARGV[8] took_ms   how long it took to answer, from the lead on
-- ARGV[9] late_ms   how long this may have been on its way
-- ARGV[10] fresh_ms how long newcomers get the outcome
-- ARGV[11] lives_ms how long after the answer it is worth anything, '' for ever
-- ARGV[12] keep_ms  how long the record is kept
-- ARGV[13] wait_ms  how long it is kept at least when pods wait
-- ARGV[14] memory_ms how long it is remembered that a leader was lost
-- ARGV[15] lease_ms how long an attempt that has not arrived is expected
-- ARGV[16] name     the flight's, for the message
-- ARGV[17] channels the channels of the pods, without the pod
-- ARGV[18] sealed   the outcome
-- ARGV[19] session  the session's name, the flight's where the token is the session
-- ARGV[20] charge   'charged', or 'free' where the session does not pay for it
-- ARGV[21] verdict  what it says of the provider: healthy, failing, neutral, session_limited, fleet_limited
-- ARGV[22] stay_away_ms   how long the provider asks to stay away, '' when it does not say
-- ARGV[23] max_failures, ARGV[24] open_ms, ARGV[25] quiet_ms   the rules of the circuit
-- ARGV[26] limit    how many permits there are
-- ARGV[27] called_ms how long a permit is kept for a flight that was called from the queue
--
-- Replies
--   {'landed'}                                 this outcome stands
--   {'stands', fence, attempt, age_ms, sealed} another one with the same claim stands
--   {'stale'}                                  nothing of it is kept; its callers have it anyway
--
-- Message to pods: 'landed <flight> <claim> <fence> <attempt> <held_ms>\n<sealed>' or 'look <flight>'
assert(#KEYS == 8 and #ARGV == 27, 'complete: 8 keys, 27 arguments')
local lock, flight, fence, attempts, circuit = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[8]
local owner, attempt, claim, led, class, token = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local held_ms, took_ms, late_ms = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local fresh_ms, lives_ms, keep_ms = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local wait_ms, memory_ms, lease_ms = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])
local name, channels, sealed = ARGV[16], ARGV[17], ARGV[18]
local session, charge, verdict, stay_away_ms = ARGV[19], ARGV[20], ARGV[21], tonumber(ARGV[22])
local circuit_rules = {max_failures = tonumber(ARGV[23]), open_ms = tonumber(ARGV[24]), quiet_ms = tonumber(ARGV[25]),
  lease_ms = lease_ms}

local now = read_clock()
local budget = {permits = KEYS[5], counter = KEYS[6], queue = KEYS[7], limit = tonumber(ARGV[26]), lease_ms = lease_ms,
  called_ms = tonumber(ARGV[27]), channels = channels, now = now}
local record, circuit_now = read_hash(flight), read_hash(circuit)
local state = record.state

local holder = redis.call('GET', lock)
if holder == owner then
  redis.call('DEL', lock)
end

local function land()
  -- Again: it has landed already, and somebody may lead anew since.
  if record.success_of == attempt or (state == 'landed' and record.attempt == attempt) then
    return {'landed'}
  end

  local lands
  if class == 'success' then
    lands = not (state == 'landed' and record.class == 'success')
  else
    lands = (state == 'leading' or state == 'lost') and record.attempt == attempt and record.fence == led
    if not state and not holder and token == 'unknown' then
      -- Redis has forgotten the flight; that the token is uncertain must not be forgotten with it.
      lands = true
    end
  end
  if not lands then
    tell_waiting(flight, record, channels, 'look ' .. name)
    if state == 'landed' and record.claim == claim then
      return {'stands', record.fence, record.attempt, passed_ms(record.landed_at, now), record.sealed}
    end
    return {'stale'}
  end

  -- When the provider answered. What was long on its way here is older than it says.
  local landed_at = now - held_ms
  if record.attempt == attempt and record.started then
    landed_at = math.min(landed_at, math.max(record.started + took_ms, landed_at - late_ms))
  end
  if lives_ms then
    fresh_ms = math.max(0, math.min(fresh_ms, landed_at + lives_ms - now))
  end

  redis.call('HSET', flight, 'state', 'landed', 'owner', owner, 'attempt', attempt, 'claim', claim, 'fence', led,
    'class', class, 'token', token, 'landed_at', landed_at, 'fresh_until', now + fresh_ms, 'fresh_ms', fresh_ms,
    'sealed', sealed, 'success_of', class == 'success' and attempt or record.success_of or 'none')
  local somebody_waits = has_field(record, 'waits:')
  if somebody_waits then
    keep_ms = math.max(keep_ms, wait_ms)
  end
  if has_field(record, 'gone:') then
    keep_ms = math.max(keep_ms, lease_ms)
  end
  if token == 'untouched' and tonumber(record.lost or '0') > 0 then
    keep_ms = math.max(keep_ms, memory_ms)
  end
  redis.call('PEXPIRE', flight, math.max(1, keep_ms))

  -- Once per flight, because a flight lands once: what it says of the provider, and what the session pays.
  local flown = {owner = owner, fence = led, session = session, verdict = verdict, retry_ms = stay_away_ms}
  learn(circuit, circuit_now, fence, flown, now, circuit_rules)
  if charge == 'free' then
    uncharge_attempt(attempts, record.charged)
  end
  if verdict == 'session_limited' and stay_away_ms then
    hold_session(attempts, now, stay_away_ms)
  end
  if token == 'dead' and session == name then
    redis.call('DEL', attempts)
  end

  if somebody_waits then
    -- Over 8 KiB it costs less to let those look who still wait than to send it to all.
    local message = 'look ' .. name
    if #sealed <= 8192 then
      message = table.concat({'landed', name, claim, led, attempt, held_ms}, ' ') .. '\n' .. sealed
    end
    tell_waiting(flight, record, channels, message)
  end
  return {'landed'}
end

free_permit(budget, owner)
local standing = land()
if circuit_now['probe:' .. led] then
  free_probe(circuit, led)
end
-- Last: what has come free goes to whoever is next.
settle(budget)
return standing
