-- Lands an outcome, frees its owner's lock, permit and probe, moves the circuit, tells every waiting pod and calls the
-- next of the queue.
--
-- Judged by the fence of the flight, not by the lock: a success replaces a failure whatever the fences; a failure
-- lands only under the flight's own fence and when nothing has landed; the first success stays.
--
-- KEYS[1] lock      string, the owner: the leader
-- KEYS[2] flight    hash, the record
-- KEYS[3] attempts  hash, how often the session led
-- KEYS[4] held      hash, where an answer is held: that for the token
-- KEYS[5] link      hash, there, too: the record of the token in the outcome
-- ARGV[1] owner     the caller, <pod>/<fence>/<lease_ms>
-- ARGV[2] caller    '<attempt> <claim> <client> <account> <client_name> <standing>', as begin.lua was told: the caller's local flight,
--                   completing it again changes nothing; what must be equal for an outcome to be shared; the caller's client with its
--                   token; which account of the session is charged; its client by its id, and how it is known
-- ARGV[3] class     success, denied, busy, not_sent, not_processed, unknown, lost: for the scripts and redis-cli; callers act on
--                   the sealed one
-- ARGV[4] token_state  what became of the token: rotated, kept, dead, untouched, unknown
-- ARGV[5] health    what it says of the provider: healthy, failing, neutral, session_limited, fleet_limited
-- ARGV[6] noted    how the caller is to be known from now on: 'client <credential>', or by the bits of its client with its
--                   token, as three numbers; '' when it is not to be noted
-- ARGV[7] numbers  doubles, little-endian; 2^53 is none. Those of the call, then the settings; the names of these and what
--                   they are stand where they are declared, for the pod and for this script: src/store/redis/scripts/settings.rs
-- NUMBER[1] own_fence  the caller's fence
-- NUMBER[2] held_ms    how long ago the provider answered, when this was sent
-- NUMBER[3] took_ms    how long it took to answer, from the lead on
-- NUMBER[4] fresh_ms   how long newcomers get the outcome
-- NUMBER[5] keep_ms    how long the record is kept
-- NUMBER[6] lives_ms   how long after the answer it is worth anything, none for ever
-- NUMBER[7] stay_away_ms  how long the provider asks to stay away, none when it does not say
-- NUMBER[8] allowed    how many flights the session may lead in its window, 0 for no more than the setting says
-- NUMBER[9] charge     1, or 0 where the session does not pay for it
-- NUMBER[10] unanswered  1 when a begin or a renewal of the attempt was not answered: it may arrive yet, and is to change nothing
-- NUMBER[11] untold    1 when nobody is to be told yet: the leader does something before (before_told), and then calls tell.lua
-- ARGV[8] sealed   the outcome
-- ARGV[9] chain    '<as> <holder> <flight> <holder> <claim> <holds_ms>': 'direct', or the place that a walker came from; whose the token
--                   and the one in the outcome are, its claim, and how long that is known from now on. 'dead <holder>' where what is held for the token may be over. Else
--                   neither it nor the last keys
-- Where several claims come with tokens of the login (lib/family.lua), two keys and nine arguments more, also of an outcome that gave no
-- token to a claim which came with an older one: the one that was presented is what it was given.
--   family, answers, the hashes of the login; and in this order
--   '<id> <flight> <holder> <claim> <entry> <place> <here> <good_ms> <holds_ms>': the token that the caller came with, what its claim is
--     called with that and in the family, the places of that token and of the one that it presented, how long the access token is good, and how long the claim is known from now on
--   the family's key, sealed for the caller's token, for the one that was presented, and for the one in the outcome
--   the token in the outcome, and the outcome, sealed under that key
--   '<claim> <fence> <attempt> <age_ms> <good_ms>\n<sealed>': what another claim was given for the token before the one that is
--     presented, where the family did not tell this; else ''
--   by what claims are called with the caller's token, and with the one that was presented, of the same length, sealed under that key
--   how the claim is called with the latter, and with others that claims are noted by, with a space between
--
-- Replies
--   {'landed'}                                 this outcome stands, and there is no more to say
--   {'landed', evicted, counted, moved}        this outcome stands; so many that were held made way; 'stranger' where it
--                                              speaks against the provider and its caller is not known: the circuit did
--                                              not hear of it; else 'counted'; moved: where it moved the circuit, how
--                                              (lib/health.lua)
--   {'ended', evicted, counted, moved}         the same, and the caller's client has ended the session meanwhile: nobody is to be
--                                              handed what it holds; also where another outcome stands
--   {'stands', fence, attempt, age_ms, sealed} another one with the same claim stands; its fence again where nobody was told of it
--   {'stale'}                                  nothing of it is kept; its callers have it anyway
--
-- Message to pods: 'landed <flight> <claim> <fence> <attempt> <age_ms>\n<sealed>' or 'look <flight>'
local is_among_claims = #KEYS == 7 and #ARGV == 18
if not is_among_claims then
  assert((#KEYS == 5 and #ARGV == 9) or (#KEYS == 3 and #ARGV == 8), 'complete: 5 keys, 9 arguments, or 2 and one less')
end
local lock, flight, attempts, held, link = unpack(KEYS)
local owner, caller, class, token_state, health, noted, numbers, sealed, chain = unpack(ARGV)
-- PARTS HERE: namespace
local permits, in_use_key, queue, circuit = tag .. 'permits', tag .. 'budget', tag .. 'queue', tag .. 'circuit'
local own_fence, held_ms, took_ms, fresh_ms, keep_ms, lives_ms, stay_away_ms, allowed, charge, unanswered,
  untold, at = struct.unpack('<ddddddddddd', numbers)
-- UNPACKED HERE: COMPLETE in src/store/redis/scripts/settings.rs
local none = 2 ^ 53
-- PARTS HERE: plain

local now = read_clock()
-- Mostly none of them is there, or only who waits: one look instead of three.
local waits, pods = tag .. 'waits:' .. string.sub(flight, #tag + 8), {}
local there = redis.call('EXISTS', circuit, queue, waits)
if there > 0 then
  pods = redis.pcall('HKEYS', waits)
  there = pods[1] and there - 1 or there
end
local is_quiet, has_circuit, circuit_now = there == 0, true, {}
if not is_quiet then
  -- PARTS HERE: hash
  has_circuit, circuit_now = pcall(read_hash, circuit)
end

-- Mostly a success lands, and in the record stands what its lead wrote. Then a few of the fields are enough, and to read all of them
-- would cost as much as five small calls.
local record, is_plain, holder = {}, false, owner
if class == 'success' and health == 'healthy' and is_quiet and redis.call('HLEN', flight) == fields_of_a_lead then
  record.owner, record.started = unpack(redis.call('HMGET', flight, 'owner', 'started'))
  -- Of a lost leader there is one field more, as of one that put its record back, and of one that was given back two.
  is_plain, record.state = record.owner == owner, 'leading'
end
local attempt, claim, client
if not is_plain or chain or unanswered == 1 or pods[1] then
  attempt, claim, client = string.sub(caller, 1, 36), string.sub(caller, 38, 101), string.sub(caller, 103, 166)
end
if not is_plain then
  -- PARTS HERE: hash record
  record, own_fence = read_record(flight), whole(own_fence)
  -- A leader that takes or renews the lock of another owner writes the record anew: where the record says that this owner
  -- leads, the lock is this owner's, or nobody's.
  if record.state ~= 'leading' or record.owner ~= owner then
    holder = redis.call('MGET', lock)[1]
  end
end
local state = record.state

-- Lock and permit are free, whatever lands. By pcall, as all that belongs to others: an outcome lands, whatever is wrong with
-- a key of theirs.
local in_use = redis.pcall('ZREM', permits, owner) == 1 and redis.pcall('DECR', in_use_key)
local is_last = type(in_use) == 'number' and in_use <= 0
if holder == owner then
  -- Mostly both, in one call.
  redis.call('DEL', lock, is_last and in_use_key or lock)
elseif is_last then
  redis.call('DEL', in_use_key)
end

-- When the provider answered. What was long on its way here is older than it says.
local landed_at = now - held_ms
if is_plain or (record.attempt == attempt and record.started) then
  landed_at = math.min(landed_at, math.max(record.started + took_ms, landed_at - late_ms))
end
lives_ms = lives_ms < none and lives_ms or nil
stay_away_ms = stay_away_ms < none and stay_away_ms or nil

-- What the record says of whether it lands.
local is_over
if not is_plain then
  -- PARTS HERE: spans ended waiting
  is_over = record.ended and tonumber(record['ended:' .. client] or '0') > now

  -- Again: it has landed already, and somebody may lead anew since.
  if record.success_of == attempt or (state == 'landed' and record.attempt == attempt) then
    if class == 'success' and state == 'landed' and record.attempt == attempt
      and landed_at < (tonumber(record.landed_at) or 0) then
      -- The one before was not answered in time: a Redis that stood still had taken it, and knew less of its age than this
      -- one says.
      redis.call('HSET', flight, 'landed_at', whole(landed_at))
      if lives_ms then
        redis.call('HSET', flight, 'fresh_until', whole(math.min(tonumber(record.fresh_until) or now, landed_at + lives_ms)))
      end
    end
    if untold == 1 and record.untold == own_fence then
      -- PARTS HERE: keep untold
      keep_untold(lock, holder, flight, owner, own_fence, lease_ms)
    end
    return done({is_over and 'ended' or 'landed', 0, 'counted'})
  end

  -- begin.lua would have cleared an old outcome. A flight that was led without Redis, or that Redis has forgotten since, has
  -- not gone through it. (Two more: both spans are rounded up to whole ms.)
  if state == 'landed' then
    -- PARTS HERE: fields login flight
    if was_over(record, now - held_ms - took_ms + 2)
      -- A machine that was suspended does not know how long ago it began; but what landed under a later fence landed after
      -- that. For a success that is no reason: pods that are cut off give fences that others gave before.
      and (class == 'success' or (tonumber(record.fence) or 0) < tonumber(own_fence)) then
      state = nil
    end
  end

  local lands
  if class == 'success' then
    lands = not (state == 'landed' and record.class == 'success')
  else
    lands = (state == 'leading' or state == 'lost') and record.attempt == attempt and record.fence == own_fence
    if not state and not holder and token_state == 'unknown' then
      -- Redis has forgotten the flight; that the token is uncertain must not be forgotten with it.
      lands = true
    end
  end
  if not lands then
    -- PARTS HERE: names
    tell_pods(waits, pods, channels_of(tag), 'look ' .. name_of(flight))
    if is_over then
      return done({'ended', 0, 'counted'})
    end
    if state == 'landed' and record.claim == claim then
      return done({'stands', record.fence, record.attempt, passed_ms(record.landed_at, now), record.sealed,
        record.untold == record.fence and record.untold or nil})
    end
    return done({'stale'})
  end
  if record.attempt ~= attempt or record.fence ~= own_fence then
    -- Else they are there from the lead on.
    redis.call('HSET', flight, 'owner', owner, 'lead', string.sub(caller, 1, 183), 'charged_window', record.charged_window or 'none')
    if record.class == 'success' and class ~= 'success' then
      -- As begin.lua would have noted it.
      redis.call('HSET', flight, 'success_of', record.attempt)
    end
  end
end

-- It lands.
if lives_ms then
  fresh_ms = math.max(0, math.min(fresh_ms, landed_at + lives_ms - now))
end
redis.call('HSET', flight, 'state', 'landed', 'class', class, 'token_state', token_state, 'landed_at', whole(landed_at),
  'fresh_until', whole(now + fresh_ms), 'fresh_ms', whole(fresh_ms), 'sealed', sealed)
if pods[1] then
  keep_ms = math.max(keep_ms, wait_ms)
end
if record.success_of and class == 'success' then
  redis.call('HDEL', flight, 'success_of') -- that of the outcome that stands is its attempt
end
if record.others then
  -- PARTS HERE: fields clients
  if class == 'success' then
    forget_uncertain(flight, record)
  elseif count_of(record, 'uncertain:') > 0 then
    keep_ms = math.max(keep_ms, memory_ms)
  end
end
if not is_plain then
  -- PARTS HERE: fields
  if next(fields_after(record, 'abandoned:')) then
    keep_ms = math.max(keep_ms, lease_ms)
  end
end
if (token_state == 'untouched' or token_state == 'unknown') and tonumber(record.lost_leaders or '0') > 0 then
  keep_ms = math.max(keep_ms, memory_ms)
end
if record.ended then
  keep_ms = math.max(keep_ms, record.ended - now)
end
local given_ms = (record.given_until or 0) - now
if token_state == 'rotated' then
  if record.given_until then
    redis.call('HDEL', flight, 'given_until')
  end
else
  -- Also where it is called dead: that may have been told to a stranger.
  keep_ms = math.max(keep_ms, given_ms)
end
redis.call('PEXPIRE', flight, whole(math.max(1, keep_ms)))
if untold == 1 and not is_over then
  -- PARTS HERE: keep untold
  keep_untold(lock, holder, flight, owner, whole(own_fence), lease_ms)
  pods = {}
end
local its_holder = chain and string.match(chain, '^dead (%x+)$')
if its_holder then
  -- The provider has called it dead.
  -- PARTS HERE: names
  if redis.call('HGET', held, 'claim') == claim then
    redis.call('DEL', held)
    redis.call('ZREM', tag .. 'held_until', name_of(flight))
  end
  if record.holder == its_holder then
    redis.call('HDEL', flight, 'given_until')
  end
  local id, member = string.match(record.family or '', '^(%x+) (%x+)$')
  if member == its_holder then
    -- PARTS HERE: hash login end_family
    if end_family(flight, name_of(flight), id, channels_of(tag), now) then
      record.family = nil
    end
  end
end
if record.family then
  -- PARTS HERE: keep login
  keep_at_least(flight, login_ms(flight, record))
end
local evicted, is_kept, entry, first_entry = 0, false, nil, nil
-- An answer that comes late is not held: what its token was used for may be forgotten by then. Nor is that of a session which has
-- ended: its mark is over before the answer would be.
local is_held_now = chain and not its_holder and not is_over and (is_among_claims or held_ms <= math.max(outcome_ms, math.min(late_ms, wait_ms)))
if is_held_now then
  -- PARTS HERE: names keep
  local as, holder, next_flight, next_holder, next_claim, holds_ms = string.match(chain, '^(%w+) (%x+) (%x+) (%x+) (%x+) (%d+)$')
  if record.holder == holder then
    -- Begin has noted it; the mark may be lost with the server.
    record.used = math.max(record.used, as == 'direct' and record.generation or as)
    redis.call('HSET', flight, 'used', whole(record.used))
  end
  if is_among_claims then
    local login, own_key, here_key, next_key, newest_token, sealed_answer, given_before, naming, called = unpack(ARGV, 10)
    -- PARTS HERE: hash login family land_family
    local is_told
    is_told, entry, first_entry = pcall(land_in_family, {family = KEYS[6], answers = KEYS[7], link = link, flight = flight, name = name_of(flight)},
      {claim = claim, holder = holder, next_flight = next_flight, next_holder = next_holder, next_claim = next_claim,
      fence = whole(own_fence), attempt = attempt, landed_at = landed_at}, record, now, outcome_ms + wait_ms)
    entry, is_kept = is_told and entry or nil, is_told
  else
    -- PARTS HERE: hold
    evicted, is_kept = hold({held = held, link = link, index = tag .. 'held_until', name = name_of(flight)}, record,
      {claim = claim, holder = holder, attempt = attempt, fence = whole(own_fence), landed_at = landed_at, sealed = sealed,
      next = next_flight, next_holder = next_holder, next_claim = next_claim, holds_ms = holds_ms}, now,
      {until_used_ms = until_used_ms, at_most = keep_at_most})
  end
end
if chain and not its_holder and not is_held_now and not is_over then
  -- Late, or told again after a failover: to which claim the token was given is all that may be owed to anybody.
  -- PARTS HERE: keep
  local next_claim, holds_ms = string.match(chain, ' (%x+) (%d+)$')
  redis.call('HSET', link, 'to', next_claim, 'holds_ms', holds_ms)
  keep_at_least(link, until_used_ms)
end
if token_state == 'rotated' and not is_kept and given_ms > 0 then
  -- PARTS HERE: keep
  -- Its record tells older tokens that it was used, as what is held would.
  keep_at_least(flight, given_ms)
end

-- Once per flight, because a flight lands once: what it says of the provider, and what the session pays. Of one that is
-- not known any more nobody can say whether it was counted: this may be a repeat. A closed circuit learns of failures only.
local is_failure, counts = health ~= 'healthy' and health ~= 'neutral', true
if is_failure then
  -- PARTS HERE: known
  local is_judged, is_caller_known = pcall(is_known, known_keys(tag, now), client, string.match(caller, '%w*$', 185))
  counts = is_caller_known or not is_judged
end
if noted ~= '' then
  -- How long anybody is known after a success.
  local known_for_ms = 30 * 24 * 60 * 60 * 1000
  local credential = string.match(noted, '^client (%x+)$')
  if credential then
    -- PARTS HERE: hash note_client
    pcall(note_client, tag .. 'known', credential, now)
  else
    -- PARTS HERE: note
    pcall(note_token, tag, noted)
  end
end
local moved
if state and has_circuit and counts and (is_failure or next(circuit_now)) then
  -- PARTS HERE: names spans fields stamps keep health
  local is_learned, how = pcall(learn, circuit, circuit_now, tag .. 'fence', {owner = owner, fence = own_fence, token = name_of(flight),
    session = name_of(attempts), client = string.match(caller, '^%w+', 185), health = health, retry_ms = stay_away_ms}, now, {max_failures = max_failures,
    open_ms = open_ms, quiet_ms = quiet_ms, lease_ms = lease_ms})
  moved = is_learned and how or nil
end
local is_held = health == 'session_limited' and stay_away_ms
if charge == 0 or allowed > 0 or is_held or token_state == 'dead' then
  -- PARTS HERE: hash names spans keep accounts session
  local charged_window = record.charged_window or (is_plain and record.started .. string.sub(caller, 167, 183)) or ''
  local charged = string.match(charged_window, ' (%w+)$') or string.sub(caller, 168, 183)
  if charge == 0 then
    pcall(uncharge_attempt, attempts, charged_window)
  end
  if allowed > 0 then
    pcall(allow_attempts, attempts, charged, allowed)
  end
  if is_held then
    pcall(hold_session, attempts, charged, now, stay_away_ms)
  end
  if token_state == 'dead' and name_of(attempts) == name_of(flight) then
    -- The token is a session of its own, and that is over.
    pcall(forget_account, attempts, charged)
  end
end

if pods[1] then
  -- PARTS HERE: names waiting
  -- Over 8 KiB it costs less to let the pods look that still wait than to send it to all.
  local name = name_of(flight)
  local message = 'look ' .. name
  if #sealed <= 8192 and not is_over then
    message = 'landed ' .. name .. ' ' .. claim .. ' ' .. whole(own_fence) .. ' ' .. attempt .. ' ' .. whole(now - landed_at)
      .. '\n' .. sealed
  end
  tell_pods(waits, pods, channels_of(tag), message)
end
if record.family or is_among_claims then
  -- PARTS HERE: hash names keep login wake
  pcall(tell_logins, flight, record, channels_of(tag), now, called_ms, {
    own_id = is_among_claims and string.match(ARGV[10], '^%x+') or chain and string.match(chain, '^%w+ (%x+)'),
    is_outside = not is_among_claims and token_state == 'rotated', link = link,
    next_holder = chain and string.match(chain, '^%w+ %x+ %x+ (%x+) '),
    fails_ms = class ~= 'success' and math.max(wait_ms, given_ms), keep_ms = keep_ms,
    is_untold = untold == 1 and not is_over, entry = entry, first_entry = first_entry})
end
if is_plain and unanswered == 0 and evicted == 0 and not moved then
  return 'landed'
end
local reply = {is_over and 'ended' or 'landed', evicted, counts and 'counted' or 'stranger', moved}
if is_plain and unanswered == 0 then
  return reply
end
own_fence = whole(own_fence)
-- PARTS HERE: ended
return done(reply)
