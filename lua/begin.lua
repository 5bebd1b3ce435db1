-- Asks what a flight is to do: take the outcome, join the leader, lead, queue, or come again later.
--
-- KEYS[1] lock        string, the owner: the leader
-- KEYS[2] flight      hash, the record
-- KEYS[3] attempts    hash, how often the session led
-- KEYS[4] held        hash, the answer that is held for the token: where there is a chain
-- ARGV[1] pod         the caller's pod
-- ARGV[2] caller      '<attempt> <claim> <client> <account> <client_name> <standing>'. First what is written where it leads
--                     (lib/record.lua): the caller's local flight, the same one gets the same answer; what must be equal for an
--                     answer to be shared; the caller's client with its token; which account of the session is charged. Then its client
--                     by its id, whatever token and credential it comes with; 'known' when the pod knows the caller, else the name
--                     of its credential, '' without one
-- ARGV[3] numbers     doubles, little-endian; 2^53 is none. Those of the call, then the settings, as
--                     src/store/redis/scripts/settings.rs declares them
-- NUMBER[1] joined    the fence the caller joined before, 0 if none
-- NUMBER[2] seen      the highest fence the pod has seen
-- NUMBER[3] waited_us how long the caller has waited already, in the queue or for Redis to recover; none when it has not
-- NUMBER[4] may_lead  2; 0 when the caller's pod leads nothing at present, 1: only if the caller is known
-- NUMBER[5] urgency   1; 0 when it waits for a permit no longer, 2 when nobody waits for it (in the background)
-- NUMBER[6] newer_than the fence of the answer that its callers have: of a token that may be used again, and of a refusal that says
--                     nothing of the token, they want a newer one
-- ARGV[4] chain        '<as> <holder> <from>': as what the caller comes along a chain (lib/held.lua), with ' follows' behind it where it
--                     goes on where other claims went; only there
--
-- Replies
--   {'landed', fence, attempt, age_ms, sealed}    the outcome is there; its fence again where nobody was told of it
--   {'token_lost', fence}                         the token may have been rotated, and is not presented again
--   {'join', fence, look_ms}                      a leader of this claim lives; the pod is registered; look again after look_ms
--   {'join', fence, claim, leader, look_ms}       a leader lives ('living'), or was lost and may still come back
--                                                 ('lost'); the pod is registered; look again after look_ms
--   {'lead', fence, known_before, run_id}         it leads; 'nothing', 'lost_leaders' or 'rotated'; '' where nobody may ask
--   {'queued', look_ms}                           the caller waits for a permit; look again after look_ms
--   {'recovering', look_ms}                       Redis may have forgotten; the caller waits; look again after look_ms
--   {'rejected', reason, retry_after_ms}          another_claim: the token was just rotated for another claim; pod: the caller's
--                                                 leads nothing; circuit_open, cooling_down, limited, budget: the rules
--   {'held', fence, attempt, age_ms, sealed, generation}  the token was rotated, and the answer is held
--   {'claims'}                                    other claims of its client come with the token, too: it asks follow.lua
--   {'unused'}                                    nobody has used the token
--   {'used'}                                      somebody came with this token or a later one
--   {'broken'}                                    what became of this token is not known, or writes were lost since
--   {'abandoned'}                                 the attempt was taken back before it arrived
--   {'ended'}                                     the caller's client has ended the session of this token
assert((#KEYS == 4 and #ARGV == 4) or (#KEYS == 3 and #ARGV == 3), 'begin: 4 keys, 4 arguments, or one less of each')
local lock, flight, attempts, held_key = unpack(KEYS)
local pod, caller, numbers, chain = unpack(ARGV)
-- PARTS HERE: namespace
local joined, seen, waited_us, may_lead, urgency, newer_than, at = struct.unpack('<dddddd', numbers)
waited_us = waited_us < 2 ^ 53 and waited_us or nil

-- By itself: a pod that joins needs no more.
local owner = redis.pcall('GET', lock)
if owner and owner.err then
  owner = false -- a key of another type is none
end
-- PARTS HERE: join
-- UNPACKED HERE: BEGIN in src/store/redis/scripts/settings.rs
-- PARTS HERE: clock
local now, now_us = read_clock()
local circuit_key, queue = tag .. 'circuit', tag .. 'queue'
-- Where nobody leads, one look tells what else there is to read: mostly nothing.
local there = not owner and redis.call('EXISTS', flight, circuit_key, attempts, queue)
local attempt, claim, client
if there ~= 0 or chain or waited_us then
  attempt, claim, client = string.sub(caller, 1, 36), string.sub(caller, 38, 101), string.sub(caller, 103, 166)
end

-- A latecomer mostly finds its session, and a fresh outcome of its claim. It needs a few fields of the record: to read all of it costs
-- as much as a small call for each.
local record, is_part = {}, there and there > 1 and not waited_us and not chain
if is_part then
  local gone = 'abandoned:' .. attempt
  local few = redis.call('HMGET', flight, 'state', 'lead', 'owner', 'fresh_until', 'fresh_ms', 'landed_at', 'sealed',
    'untold', 'ended', gone)
  local led = few[2] or ''
  record = {state = few[1], attempt = string.sub(led, 1, 36), claim = string.sub(led, 38, 101),
    fence = string.match(few[3] or '', '/(%d+)/'), fresh_until = few[4], fresh_ms = few[5], landed_at = few[6], sealed = few[7],
    untold = few[8], ended = few[9], [gone] = few[10]}
elseif there ~= 0 then
  -- PARTS HERE: hash record
  record = read_record(flight)
end
if record.state == 'landed' and record.claim == claim and record.attempt ~= attempt and not waited_us and not chain then
  local left, landed_at = (record.fresh_until or now) - now, tonumber(record.landed_at) or now
  if left > 0 and left <= tonumber(record.fresh_ms) and landed_at <= now and tonumber(record.fence) > newer_than
    and not record.untold and not record.ended and not record['abandoned:' .. attempt] then
    return {'landed', record.fence, record.attempt, now - landed_at, record.sealed}
  end
end
if is_part then
  -- PARTS HERE: hash record
  record = read_record(flight)
end
local fence, incarnation, in_use_key = tag .. 'fence', tag .. 'incarnation', tag .. 'budget'
local last, noted, in_use_there = unpack(redis.call('MGET', fence, incarnation, in_use_key))
-- PARTS HERE: server
seen, uncertain = fence_number(seen), uncertain == 1 and 'never' or 'retry'
local state = record.state
if there and next(record) then
  there = there - 1
end

-- What is known of the token, and of its caller. Mostly nothing, and then nothing of it is asked.
local is_unheard_of = not owner and not waited_us and not chain and not next(record)
local known_before, lost_leaders, is_own, is_walker, is_claiming, lost_ms = 'nothing', nil, true, false, false, 0
local is_of_other_holder = false
local given_ms = record.given_until and math.max(0, record.given_until - now) or 0
if not is_unheard_of then
  -- PARTS HERE: hash spans begun

  -- A flight that waits would have joined, had it come a moment later: what lands meanwhile is for it, however short
  -- that is fresh. To present the token once more would be a reuse.
  local function landed_while_waiting(landed_at)
    return waited_us ~= nil and passed_ms(landed_at, now) * 1000 < waited_us
  end

  if record['abandoned:' .. attempt] then
    return done({'abandoned'})
  elseif record.ended and tonumber(record['ended:' .. client] or '0') > now then
    return done({'ended'}) -- also to a leader whose first answer was lost: it has presented nothing
  end
  local fence_there
  if owner then
    -- PARTS HERE: fields login flight
    fence_there = fence_of(owner)
    if not fence_there then
      return redis.error_reply('WRONGTYPE ' .. lock .. ' holds no owner')
    end
  end
  if record.attempt == attempt then
    -- PARTS HERE: again
    local reply = begin_again()
    if reply then
      return reply
    end
    state = record.state
  end

  -- What is held for the token, and whether a walker may go on here.
  local coming, held, ended, is_followed = nil, {}, nil, false
  if chain then
    -- PARTS HERE: held
    coming, held, is_walker, lost_ms, ended = come_along(chain, noted, flight, record, held_key, owner)
    is_claiming, is_of_other_holder = coming.as == 'claim', record.holder and record.holder ~= coming.holder
    -- A walker that waits for the outcome of this token came before anybody used it: that is for it. Where several claims come, what one
    -- of them used ends nothing for the others.
    local is_member = record.family and string.match(record.family, ' (%x+)$') == coming.holder
    is_followed = coming.follows and is_member
    if is_member then
      -- PARTS HERE: login
      -- However it comes: another claim may have ended the session since it was told to go on.
      if tonumber(redis.call('HGET', family_of(flight, record), 'ended') or '0') > now then
        return done({'ended'})
      end
    end
    if ended and joined == 0 and not waited_us and not is_followed then
      return done({ended})
    end
  end
  -- First an outcome for this flight: it costs nobody anything.
  local is_fresh = false
  if state == 'landed' then
    -- PARTS HERE: stamps
    is_fresh = left_of(flight, record, 'fresh_until', now, tonumber(record.fresh_ms)) > 0
      and not ((record.token_state == 'kept' or (record.class == 'denied' and record.token_state == 'untouched'))
        and tonumber(record.fence) <= newer_than)
  end
  if is_fresh and held.sealed and held.claim == claim and coming.as ~= 'past' and joined == 0 and not waited_us then
    -- PARTS HERE: names
    local next_flight = string.sub(flight, 1, -#name_of(flight) - 1) .. held.next
    if tonumber(redis.call('HGET', next_flight, 'ended') or '0') > now then
      -- A newcomer looks at the token that followed before it takes anything: that knows whose session it was.
      return done({'held', held.fence, held.attempt, passed_ms(held.landed_at, now), held.sealed, held.generation})
    end
  end
  local untold = record.untold == record.fence and record.untold or nil -- while its leader lives, it is joined
  if state == 'landed' and record.claim == claim and not (owner and untold) then
    -- A success of an older fence than the joined one landed after the joining: it is handed over, too.
    if is_fresh or (joined > 0 and (tonumber(record.fence) >= joined or record.class == 'success'))
      or landed_while_waiting(record.landed_at) then
      return done({'landed', record.fence, record.attempt, passed_ms(record.landed_at, now), record.sealed, untold})
    end
  end
  if record.last_claim == claim and ((joined > 0 and tonumber(record.last_fence) >= joined)
    or landed_while_waiting(record.last_landed_at)) then
    -- A newcomer leads already, but this is what was waited for.
    return done({'landed', record.last_fence, record.last_attempt, passed_ms(record.last_landed_at, now),
      record.last_sealed})
  end
  if coming and coming.follows then
    -- PARTS HERE: follows
    if goes_among_claims() then
      if not string.match(noted or '', '^%w+ %d+ %d+$') then
        -- Who asks where the claims went is told that Redis may have forgotten; here it is noted.
        -- PARTS HERE: run_id register incarnation
        local _, recovering_ms = recover({fence = fence, incarnation = incarnation, meta = tag .. 'meta',
          fleet = fleet_of(budget.channels), lease_ms = lease_ms, now = now}, noted, fence_number(last), seen, false)
        wait_for_flight()
        return done({'recovering', math.max(1, recovering_ms)})
      end
      return done({'claims'})
    end
  end
  -- Then the leader, with whatever claim: one presentation at a time.
  if owner then
    wait_for_flight()
    if record.claim ~= claim and urgency ~= 2 and not is_stranger() then
      -- PARTS HERE: fields stamps turns
      take_turn(flight, record, client)
    end
    local left = redis.call('PTTL', lock)
    if left > tonumber(record.lease_ms or left) then
      -- The clock was set back: the lock would outlive a dead leader by as much.
      left = tonumber(record.lease_ms)
      redis.call('PEXPIRE', lock, left)
    end
    return done({'join', fence_there, record.claim or '', 'living', left})
  end

  -- What happened to another client's flight says nothing of what this one's credential would bring.
  is_own = not record.client or record.client == client
  local is_spent = record.token_state == 'rotated' or (record.token_state == 'dead' and is_own)
  if ended or (is_walker and coming.as == 'take' and not held.sealed and not is_spent) then
    return done({ended or 'unused'})
  end

  if state == 'leading' then
    state = 'lost'
    record.lost_leaders = (record.lost_leaders or 0) + 1
    -- Where Redis was away for all pods, the leader may be on its way here with its outcome.
    record.again_at = whole(now + grace_ms)
    redis.call('HSET', flight, 'state', state, 'lost_leaders', record.lost_leaders, 'again_at', record.again_at)
  end

  if state == 'lost' then
    -- PARTS HERE: stamps
    local left = 0
    if record.again_at ~= '0' then
      left = left_of(flight, record, 'again_at', now, grace_ms)
      if is_own then
        if tonumber(record.started) and tonumber(record.started) > now then
          -- It is put right, and what was charged is not found by it any more.
          redis.call('HSET', flight, 'charged_window', record.charged_window or 'none')
        end
        left = math.max(left, retry_ms - passed_of(flight, record, 'started', now))
      end
    end
    if left > 0 then
      wait_for_flight()
      return done({'join', record.fence, record.claim, 'lost', left})
    end
    known_before = is_own and 'lost_leaders' or 'nothing'
  elseif state == 'landed' then
    if record.token_state == 'rotated' then
      if is_fresh then
        return done({'rejected', 'another_claim', left_ms(record.fresh_until, now, tonumber(record.fresh_ms))})
      end
      known_before = 'rotated'
    elseif is_own and record.token_state == 'unknown' and uncertain == 'never' then
      return done({'token_lost', record.fence})
    elseif is_own and (record.token_state == 'untouched' or record.token_state == 'unknown')
      and tonumber(record.lost_leaders or '0') > 0 then
      -- The leader that took over learned nothing of the token: what became of it is as uncertain as before.
      known_before = 'lost_leaders'
    end
  end

  if held.sealed then
    if held.claim == claim and coming.as ~= 'past' then
      return done({'held', held.fence, held.attempt, passed_ms(held.landed_at, now), held.sealed, held.generation})
    end
    known_before = 'rotated'
  end
  -- Who is told the newest token by its family is owed what follows it, whenever that was given.
  if is_walker and (known_before == 'rotated' or is_spent or (given_ms == 0 and not is_claiming)) then
    return done({'broken'})
  end

  lost_leaders = record.lost_leaders
  if record.others then
    -- PARTS HERE: fields clients
    local lost_fence, lost = uncertain_for(record, client)
    if lost_fence and uncertain == 'never' then
      return done({'token_lost', lost_fence})
    elseif lost_fence and lost > 0 and known_before == 'nothing' then
      known_before, lost_leaders = 'lost_leaders', lost
    elseif not lost_fence and not is_own and uncertain == 'never'
      and count_of(record, 'uncertain:') >= most_clients_of_token and is_stranger() then
      return done({'token_lost', record.fence or '0'})
    end
  end
end

-- Then whether this server may give a lead at all: it does where it is the one that decided last and has recovered.
local run_id, until_ms = string.sub(noted or '', 1, 40), string.match(noted or '', '^ (%d+) %d+$', 41)
local listen = until_ms and tonumber(until_ms) <= now and redis.pcall('PUBSUB', 'NUMSUB', tag .. 'server:' .. run_id)
-- That a pod listens there on the channel of this server says that it is the same; where none does, it is asked.
if not listen or (listen[2] or 0) == 0 then
  -- PARTS HERE: hash begun run_id register incarnation
  local recovering_ms
  run_id, recovering_ms = recover({fence = fence, incarnation = incarnation, meta = tag .. 'meta', fleet = fleet_of(budget.channels),
    lease_ms = lease_ms, now = now}, noted, fence_number(last), seen, false)
  if recovering_ms > 0 then
    wait_for_flight()
    return done({'recovering', recovering_ms})
  end
end
if not is_unheard_of then
  -- PARTS HERE: spans begun
  if is_walker and not is_claiming and tonumber(record.given_at or '0') < lost_ms then
    -- Somebody may have presented it, and Redis has lost that.
    return done({'broken'})
  end
  if state == 'lost' and is_own and uncertain == 'never' then
    -- Only now: while the server recovers, a leader that its data miss may put its flight back.
    return done({'token_lost', record.fence})
  end

  -- Known clients lead first, in the order in which they came.
  if record.others then
    -- PARTS HERE: fields stamps turns
    local turn_ms = wait_for_turn(flight, record, client, is_stranger, called_ms, now)
    if turn_ms > 0 then
      wait_for_flight()
      return done({'join', record.fence or '0', '', 'living', turn_ms})
    end
  end
end

-- The rules of admission, in the order of src/admission.rs. Nothing is taken before all of them have been asked.
if may_lead < 2 then
  -- PARTS HERE: begun
  if may_lead == 0 or is_stranger() then
    return done({'rejected', 'pod', 0})
  end
end
-- Mostly none of them is there. What was given back since they were looked for only makes them less.
local is_quiet = (there or redis.call('EXISTS', circuit_key, attempts, queue)) == 0
local passage, circuit, session, in_window, account = 'free', nil, nil, 0, string.sub(caller, 168, 183)
if not is_quiet then
  -- PARTS HERE: hash spans fields keep begun stamps circuit accounts attempts
  local refusal, refused_ms
  circuit = read_hash(circuit_key)
  passage, refused_ms = admit_by_circuit(circuit_key, circuit, client_name, now, {half_open = half_open})
  if not passage then
    return done({'rejected', 'circuit_open', refused_ms})
  end
  if passage == 'probe' and (urgency == 2 or is_stranger()) then
    -- A caller comes first. A stranger may have made its request up: it does not decide whether the provider is well.
    return done({'rejected', 'circuit_open', fair_pause_ms})
  end
  session = read_hash(attempts)
  local rules = {max_attempts = max_attempts, window_ms = window_ms, cooldown_ms = cooldown_ms, is_background = urgency == 2}
  account = account_for(attempts, session, account, is_stranger, now, rules)
  in_window, refusal, refused_ms = admit_by_attempts(attempts, session, account, now, rules)
  if not in_window then
    return done({'rejected', refusal, refused_ms})
  end
end
local in_use, is_called = tonumber(in_use_there or '0'), false
-- Mostly nobody queues, nor did this flight, which would be among those that wait; and no permit is out, or none that is over and
-- fewer than strangers may have.
local is_plenty = is_quiet and not waited_us and (not in_use_there or (is_unheard_of and urgency ~= 2 and in_use
  and in_use < limit - math.floor(limit / 4) and #redis.call('ZRANGEBYSCORE', tag .. 'permits', '-inf', whole(now), 'LIMIT', '0', '1') == 0
  and redis.call('EXISTS', tag .. 'waits:' .. string.sub(flight, #tag + 8)) == 0))
if not is_plenty then
  -- PARTS HERE: hash spans keep begun in_use permits lines freed budget queue
  local is_free
  is_free, in_use, is_called = seek_permit(budget, in_use_there, place, {client = client_name, now_us = now_us,
    waited_us = waited_us, is_quiet = is_quiet, is_stranger = is_stranger, waits = urgency == 1, is_background = urgency == 2})
  if not is_free then
    if urgency ~= 1 then
      return done({'rejected', 'budget', fair_pause_ms})
    end
    -- What lands meanwhile, wherever it was led, is told to flights that queue, too.
    wait_for_flight()
    return {'queued', look_ms(budget)}
  end
end

-- The lead. Its fence is above all that this server and this pod know of, and by its time above what any other has given.
local own_fence = whole(math.max(fence_number(last) + 1, seen + 1, now_us))
local lease_text, started, ends = whole(lease_ms), whole(now), whole(now + lease_ms)
local own, permits = pod .. '/' .. own_fence .. '/' .. lease_text, tag .. 'permits'
-- First, because it fails where the key holds something else: nothing is taken yet.
redis.call('ZADD', permits, ends, own)
-- The lock is taken with NX: were the reasoning above wrong, there still could not be two leaders.
if not redis.call('SET', lock, own, 'NX', 'PX', lease_text) then
  redis.call('ZREM', permits, own)
  return redis.error_reply('WRONGTYPE ' .. lock .. ' is there and holds no owner')
end
if in_use == 0 and not is_called then
  redis.call('SET', in_use_key, '1', 'PXAT', ends)
  redis.call('PEXPIREAT', permits, ends)
elseif not is_called then
  -- PARTS HERE: in_use
  set_in_use({permits = permits, counter = in_use_key, lease_ms = lease_ms, now = now}, in_use + 1)
else
  -- PARTS HERE: begun in_use permits
  take_called_permit(budget, place, own, in_use)
end
redis.call('SET', fence, own_fence)
if passage == 'probe' then
  -- PARTS HERE: spans fields stamps circuit
  take_probe(circuit_key, circuit, own_fence, now, {quiet_ms = quiet_ms, lease_ms = lease_ms})
end
-- What the account pays: mostly the first attempt of its session.
local charged_window
if urgency == 2 then
  charged_window = '0 ' .. account -- nothing was counted that could be given back
elseif session and next(session) then
  -- PARTS HERE: spans keep charge
  charged_window = charge_attempt(attempts, session, account, in_window, now, window_ms)
else
  redis.call('HSET', attempts, 'attempts:' .. account, '1', 'window_start:' .. account, started)
  redis.call('PEXPIRE', attempts, whole(window_ms))
end
if record.others or not is_own then
  -- PARTS HERE: fields clients
  keep_others(flight, record, state, client, uncertain)
end
if state == 'landed' then
  -- PARTS HERE: spans
  if record.class == 'success' and passed_ms(record.landed_at, now) < longest_wait_ms then
    -- A waiting flight that missed the message may still come for it.
    redis.call('HSET', flight, 'last_claim', record.claim, 'last_fence', record.fence, 'last_attempt', record.attempt,
      'last_landed_at', record.landed_at, 'last_sealed', record.sealed)
  end
  if record.class == 'success' then
    -- Should it be told again: it has landed already.
    redis.call('HSET', flight, 'success_of', record.attempt)
  end
  redis.call('HDEL', flight, 'class', 'token_state', 'sealed', 'landed_at', 'fresh_until', 'fresh_ms')
end
redis.call('HSET', flight, 'state', 'leading', 'owner', own, 'lead', string.sub(caller, 1, 183), 'started', started)
if charged_window or known_before ~= 'nothing' or record.fence then
  -- Other than usual, or what the lead before left.
  redis.call('HSET', flight, 'known_before', known_before, 'lost_leaders', known_before == 'lost_leaders' and lost_leaders or '0',
    'charged_window', charged_window or started .. ' ' .. account)
end
local lives_ms = math.max(lease_ms + memory_ms, given_ms, (record.ended or now) - now)
if is_of_other_holder then
  redis.call('HSET', flight, 'stranger', own_fence)
end
if record.family then
  -- PARTS HERE: login
  lives_ms = math.max(lives_ms, login_ms(flight, record))
end
redis.call('PEXPIRE', flight, whole(lives_ms))
return 'lead ' .. own_fence .. ' ' .. known_before .. ' ' .. run_id
