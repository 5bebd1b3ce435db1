-- Asks where a flight goes on whose token other claims of the same client come with, too: it is handed what its claim was given
-- later, waits for its turn, or presents the newest token of the login. The keys are told in lib/family.lua.
--
-- KEYS[1] flight     hash, the record of the caller's token
-- KEYS[2] held       hash, the answer that is held for it
-- KEYS[3] incarnation string, the server that decided last, and until when it recovers
-- ARGV[1] pod        the caller's pod
-- ARGV[2] attempt    the caller's local flight
-- ARGV[3] claim      what the caller asks for, as it is called with this token
-- ARGV[4] client     the caller's client with its token
-- ARGV[5] holder     who may say that the token was used
-- ARGV[6] entry_ms   how long a claim is known that was given nothing yet
-- ARGV[7] called_ms  how long the turn is kept for a flight that was called
-- ARGV[8] channels   the channels of the pods, without the pod
-- ARGV[9] as         'direct'; 'take' or 'walk' where the caller came with an older token than this one, which its claim was given: with an
--                    access token that is good, or to present it; 'claim' where its turn has led it here from an older one; 'wait' where
--                    it presents nothing
-- ARGV[10] owed      what the caller's claim is called with the token that it came with
-- ARGV[11] unproven_ms  how long a claim is known of whose token nothing says that it is no made-up one
--
-- Replies
--   {'wait', look_ms}                                  others lead, or came before; it is called; look again after look_ms
--   {'given', id, key, claim, fence, attempt, age_ms, sealed}  its claim was given this later; claim names it there
--   {'newest', id, key, place, named, newest, token}   its turn: the newest token, sealed under the family's key
--   {'other', id, key, place, named, claim, fence, attempt, age_ms, sealed, next}  its turn: what another claim was given for this
--                                                      token, and where the token in that stands
--   {'own', id, key, place, named}                     its turn: its own token is the newest. named: by what claims are called that
--                                                      have presented none, one after the other, sealed under the family's key
--   {'forgotten'}                                      Redis may have forgotten the login: begin.lua knows
--   {'unused'}                                         its claim has not come with this token or a later one
--   {'spent'}                                          its own token goes to the provider
--   {'full'}                                           so many claims of this login are known
--   {'ended'}                                          the session has ended
assert(#KEYS == 3 and #ARGV == 11, 'follow: 3 keys, 11 arguments')
local flight, held_key, incarnation = unpack(KEYS)
local pod, attempt, claim, client, holder, entry_ms, called_ms, channels, as, owed, unproven_ms = unpack(ARGV)
entry_ms, called_ms, unproven_ms = tonumber(entry_ms), tonumber(called_ms), tonumber(unproven_ms)
local most_waiting, longest_look_ms = 1024, 10000

local now, now_us = read_clock()
local name = name_of(flight)
local root = root_of(flight)
local is_direct = as == 'direct' or as == 'wait'

-- First: whether this server knows what there is to know.
local recovering_ms = recovers_ms(incarnation, now)
if not recovering_ms then
  return {'forgotten'}
elseif recovering_ms > 0 then
  -- What this server has lost, pods land again meanwhile.
  return {'wait', math.max(1, recovering_ms)}
end

-- Then: what is known of the caller's token, and of its login.
local record, held = read_record(flight), read_hash(held_key)
if held.holder ~= holder then
  held = {}
end
local place = tonumber(record.generation or held.generation or '1')
local is_spent = record.token_state == 'rotated'
if record.ended and tonumber(record['ended:' .. client] or '0') > now then
  return {'ended'}
end
local id, member = string.match(record.family or '', '^(%x+) (%x+)$')
if id and member ~= holder then
  -- Another credential's. Where none of its claims has presented what another was given, there is nothing in it.
  if redis.call('HGET', root .. 'family:' .. id, 'newest') then
    return {'spent'}
  end
  id = nil
end
local is_member = id
-- Named after who holds this token, so that nobody else's is called so.
id = id or holder
local family_key, answers, order = root .. 'family:' .. id, root .. 'answers:' .. id, root .. 'order:' .. id
local family = read_hash(family_key)
-- What a flight is told that waits no longer: its place goes, and its turn to the next.
local function over(reply)
  leave_order(flight, id, pod .. ' ' .. attempt .. ' ' .. name, channels, now, called_ms)
  return reply
end
if tonumber(family.ended or '0') > now then
  return over({'ended'})
end
local newest_place, newest = string.match(family.newest or '', '^(%d+) (%x+)$')
local key = is_member and record.family_key or ''
local is_newest = not newest or newest == name
local is_end = is_newest or key == ''

-- What another claim was given for this token, where the family does not tell the newest: it is new, or a flight outside of it
-- presented that. And the record of the token in it, and where that stands.
local function read_other()
  local other
  if is_end and is_spent and record.client == client and not record.untold and (tonumber(record.fresh_until) or 0) > now then
    other = record
  elseif is_end and held.sealed and tonumber(held.used) <= place then
    other = held
  end
  if not other or not held.next then
    return other, {}
  end
  local followed = read_record(root .. 'flight:' .. held.next)
  local its_login = string.match(followed.family or '', '^%x+')
  local is_over = not next(followed) or (followed.token_state == 'dead' and not followed.given_until)
    or (followed.token_state == 'rotated' and its_login and not redis.call('HGET', root .. 'family:' .. its_login, 'newest'))
  if is_over and redis.call('EXISTS', root .. 'held:' .. held.next) == 0 then
    -- The token in it is dead, or a later one that was presented for the login; or nothing is known of it any more.
    return nil, followed
  end
  -- The way to it may have been made short.
  return other, followed, other == held and tonumber(followed.generation) or nil
end
local other, followed, next_place = read_other()

-- Then: who the caller is to the login, as what it came with last, or was given last.
local function read_entry_of_caller()
  local entry = family['is:' .. (as == 'claim' and owed or claim)]
  if entry or record.to ~= claim then
    return entry
  end
  -- The token was given to it. How it is called with that was not known when the family was told so, or it has come with the token before
  -- alone.
  for its_name, known in pairs(entries_of(family)) do
    if known.given == place and known.given_claim == '-' then
      entry = its_name
    end
  end
  local before = not entry and record.holder == holder and redis.call('HGET', root .. 'held:' .. (record.before or ''), 'claim')
  entry = entry or (before and family['is:' .. before])
  local known = entry and read_entry(family['e:' .. entry])
  if known and known.given <= place then
    known.given, known.given_claim = place, claim
    write_entry(family_key, family, entry, known, now)
  end
  return entry
end
local entry = read_entry_of_caller()
local place_in_order, came_there
local own_family_key = root .. 'family:' .. holder

-- An older token than its claim came with last is left behind.
local function is_owed_token()
  local known = entry and read_entry(family['e:' .. entry])
  if known then
    return known.given == place and known.came < place
  end
  return record.to == claim and record.holder == holder and tonumber(record.used or '0') < place
    and not (newest and tonumber(family.used or '0') > place)
end
-- What the flight is told that may not go on, nil where it may. A stranger to the login comes before anybody has used a later token.
local function refusal()
  local _, count = entries_of(family)
  -- Before another login took its token over, its claim may have come to the one that is named after the holder.
  if id ~= holder and not entry and is_direct then
    came_there = redis.call('HGET', own_family_key, 'is:' .. claim)
    local there = came_there and read_entry(redis.call('HGET', own_family_key, 'e:' .. came_there))
    came_there = there and there.came_claim == claim and there.given == 0 and came_there
  end
  if not entry and as ~= 'claim' then
    if not came_there and not is_newest and tonumber(family.used or '0') > place then
      return over({'spent'})
    end
    -- One claim more may still present the newest token itself, and nothing is kept for it.
    if count < most_claims then
      entry = claim
    elseif is_spent or not is_newest then
      return over({'full'})
    end
  end
  if (is_spent or held.sealed) and is_end and not other then
    return over({'spent'})
  end
  -- A flight that left without a word makes way after ten minutes; one that waits still takes a new place when it looks.
  redis.call('ZREMRANGEBYSCORE', order, '-inf', whole(now_us - 600 * 1000000))
  place_in_order = pod .. ' ' .. attempt .. ' ' .. name .. ' ' .. (entry or claim)
  if string.match(family.called or '', '^%S+') ~= attempt and redis.call('ZCARD', order) >= most_waiting
    and not redis.call('ZSCORE', order, place_in_order) then
    return {'full'}
  end
end
if as == 'take' or as == 'walk' then
  if not is_owed_token() then
    return over({'spent'})
  elseif as == 'take' then
    return {'unused'}
  end
end
local refused = refusal()
if refused then
  return refused
end

-- From here on it is written: that the claim came, and those that are owed what follows the token as well.
local function note_others()
  local _, count = entries_of(family)
  local owed_ms = 0
  if newest or count + 2 >= most_claims then
    return 0
  end
  if record.to and record.to ~= claim then
    owed_ms = note_given(root, family_key, family, record, place, holder, entry_ms, now)
  end
  -- Who presents a token of the family has an entry, with the token that it came with.
  local presents = not is_member and (record.state == 'leading' or is_spent) and record.client == client and record.claim
  if presents and presents ~= claim then
    local its_ms = tonumber(followed.holds_ms) or entry_ms
    owed_ms = math.max(owed_ms, note_presenter(family_key, family, presents, place, its_ms, now))
  end
  return owed_ms
end
local function note_caller()
  local known = entry and read_entry(family['e:' .. entry]) or new_entry(place, claim, entry_ms)
  if is_direct then
    known.came, known.came_claim = place, claim
  elseif as == 'walk' and known.given < place then
    known.came, known.came_claim, known.given, known.given_claim = place - 1, '-', place, claim
  end
  if came_there then
    -- Once: it leaves its token behind in this login from now on.
    redis.call('HDEL', own_family_key, 'is:' .. claim, 'e:' .. came_there)
  end
  if entry then
    write_entry(family_key, family, entry, known, now)
    if as ~= 'claim' then
      redis.call('HSET', family_key, 'at:' .. place, name)
    end
  end
  if is_direct and tonumber(family.used or '0') < place then
    redis.call('HSET', family_key, 'used', place)
  end
  return known
end
-- Returns for how long the claims of the token are known, and the flight of the token before the newest.
local function keep_login(stays_ms)
  -- Anybody can make tokens up. Its claims are known for as long as they are owed anything once a flight has landed that got one for it.
  if not (newest or is_spent or held.sealed or record.generation) then
    stays_ms = math.min(stays_ms, unproven_ms)
  end
  keep_at_least(family_key, stays_ms)
  keep_at_least(flight, stays_ms)
  local lives_ms = redis.call('PTTL', family_key)
  if redis.call('EXISTS', answers) == 1 then
    keep_at_least(answers, lives_ms)
  end
  if not newest then
    return stays_ms
  end
  -- The newest token is given for as long as anybody is owed it.
  local newest_key = root .. 'flight:' .. newest
  local before, given_until = unpack(redis.call('HMGET', newest_key, 'before', 'given_until'))
  if given_until and tonumber(given_until) < now + lives_ms then
    redis.call('HSET', newest_key, 'given_until', whole(now + lives_ms))
    keep_at_least(newest_key, lives_ms)
  end
  return stays_ms, before
end
if not is_member then
  redis.call('HSET', flight, 'family', id .. ' ' .. holder)
  if place > 1 and not record.generation then
    redis.call('HSET', flight, 'generation', whole(place), 'used', whole(place), 'holder', holder)
  end
end
local owed_ms = note_others()
local known = note_caller()
local stays_ms, before = keep_login(math.max(owed_ms, known.holds_ms))

-- Then: who presents the newest token, or what followed the caller's; and who has, and tells nobody yet.
local tells_ms = untold_lease_of(root, before)
local function leads_ms()
  local presented, leads = newest or name, nil
  if presented == name then
    leads = record.state == 'leading' and record.client ~= client and 0 or lease_of(root, name)
  else
    leads = own_lease_of(root, presented)
  end
  return math.max(tells_ms, leads, other and held.next and own_lease_of(root, held.next) or 0)
end
local led_ms = leads_ms()

-- Then: what its claim was given later, while the access token in that is good.
local called, called_until = string.match(family.called or '', '^(%S+) (%d+)$')
local function done(reply)
  redis.call('ZREM', order, place_in_order)
  if called == attempt then
    redis.call('HDEL', family_key, 'called')
    call_next(family_key, order, channels, now, called_ms)
  end
  return reply
end
if known.given > place and known.good_until > now and key ~= '' and (tells_ms <= 0 or tostring(known.given) ~= newest_place) then
  local sealed = redis.call('HGET', answers, entry)
  if sealed then
    return done({'given', id, key, known.sealed_claim, known.fence, known.attempt, math.max(0, now - tonumber(known.landed_at)), sealed})
  end
end
lead_way_to_family(root, id, other and held.next, followed, unproven_ms)

-- Then: whose turn it is. What the flight is told whose turn it is not, nil where it is. The more wait, the later each looks: it is called
-- before.
local function wait(look_ms)
  redis.call('ZADD', order, 'NX', whole(now_us), place_in_order)
  keep_at_least(order, stays_ms)
  return {'wait', math.max(1, math.min(longest_look_ms, look_ms + 100 * redis.call('ZCARD', order)))}
end
local function others_turn()
  if led_ms > 0 then
    return wait(led_ms)
  end
  local left_ms = (tonumber(called_until) or 0) - now
  if left_ms > called_ms then
    -- The clock was set back.
    left_ms = called_ms
    redis.call('HSET', family_key, 'called', called .. ' ' .. whole(now + called_ms))
  end
  if as == 'wait' then
    return done({'spent'})
  elseif called and called ~= attempt and left_ms > 0 then
    return wait(left_ms)
  end
  local first = redis.call('ZRANGE', order, 0, 0)[1]
  if called ~= attempt and first and first ~= place_in_order then
    call_next(family_key, order, channels, now, called_ms)
    return wait(called_ms)
  end
  return not is_newest and key == '' and not other and done({'spent'})
end
local waits = others_turn()
if waits then
  return waits
end

-- Last: its turn.
redis.call('ZREM', order, place_in_order)
redis.call('HSET', family_key, 'called', attempt .. ' ' .. whole(now + called_ms))
if not entry then
  -- Nothing else may be known of the login.
  keep_at_least(family_key, called_ms)
end
local named = names_of_family(family)
if other then
  return {'other', id, key, place, named, other.claim, other.fence, other.attempt, math.max(0, now - (tonumber(other.landed_at) or now)),
    other.sealed, whole(next_place or place + 1)}
elseif not is_newest then
  return {'newest', id, key, place, named, newest_place, family.newest_token}
end
return {'own', id, key, place, named}
