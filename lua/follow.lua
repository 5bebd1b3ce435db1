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
--   {'newest', id, key, place, newest, token}          its turn: the newest token, sealed under the family's key
--   {'other', id, key, place, claim, fence, attempt, age_ms, sealed, next}  its turn: what another claim was given for this token, and
--                                                      where the token in that stands
--   {'own', id, key, place}                            its turn: its own token is the newest
--   {'forgotten'}                                      Redis may have forgotten the login: begin.lua knows
--   {'unused'}                                         its claim has not come with this token or a later one
--   {'spent'}                                          its own token goes to the provider
--   {'full'}                                           so many claims of this login are known
--   {'ended'}                                          the session has ended
assert(#KEYS == 3 and #ARGV == 11, 'follow: 3 keys, 11 arguments')
local flight = KEYS[1]
local pod, attempt, claim, client, holder, entry_ms, called_ms, channels, as, owed, unproven_ms = unpack(ARGV)
entry_ms, called_ms = tonumber(entry_ms), tonumber(called_ms)
local most_waiting, longest_look_ms = 1024, 10000

local now, now_us = read_clock()
local name = name_of(flight)
local root = root_of(flight)
local run_id, until_ms, span_ms = string.match(redis.call('GET', KEYS[3]) or '', '^(%w+) (%d+) (%d+)$')
if not until_ms then
  return {'forgotten'}
elseif tonumber(until_ms) > now + tonumber(span_ms) then
  -- The clock was set back.
  until_ms = now + span_ms
  redis.call('SET', KEYS[3], run_id .. ' ' .. whole(until_ms) .. ' ' .. span_ms)
end
if tonumber(until_ms) > now then
  -- What this server has lost, pods land again meanwhile.
  return {'wait', math.max(1, tonumber(until_ms) - now)}
end
local record, held = read_record(flight), read_hash(KEYS[2])
if held.holder ~= holder then
  held = {}
end
local place = tonumber(record.generation or held.generation or '1')
local is_direct = as == 'direct' or as == 'wait'

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

-- What another claim was given for this token, where the family does not tell the newest: it is new, or a flight outside of it
-- presented that.
local other, next_place
local is_spent, is_end = record.token_state == 'rotated', not newest or newest == name or key == ''
if is_end and is_spent and record.client == client and not record.untold and (tonumber(record.fresh_until) or 0) > now then
  other = record
elseif is_end and held.sealed and tonumber(held.used) <= place then
  other = held
end

local followed = {}
if other and held.next then
  followed = read_record(root .. 'flight:' .. held.next)
  local its_login = string.match(followed.family or '', '^%x+')
  local is_over = not next(followed) or (followed.token_state == 'dead' and not followed.given_until)
    or (followed.token_state == 'rotated' and its_login and not redis.call('HGET', root .. 'family:' .. its_login, 'newest'))
  if is_over and redis.call('EXISTS', root .. 'held:' .. held.next) == 0 then
    -- The token in it is dead, or a later one that was presented for the login; or nothing is known of it any more.
    other = nil
  elseif other == held then
    -- The way to it may have been made short.
    next_place = tonumber(followed.generation)
  end
end

-- Who the caller is to the family: as what it came with last, or was given last. A stranger to it comes before anybody has used a
-- later token.
local entry = family['is:' .. (as == 'claim' and owed or claim)]
if not entry and record.to == claim then
  -- How the claim is called with this token was not known when the family was told that it was given to it.
  for other_name, known in pairs(entries_of(family)) do
    if known.given == place and known.given_claim == '-' then
      entry, known.given_claim = other_name, claim
      write_entry(family_key, family, entry, known, now)
    end
  end
end
if as == 'take' or as == 'walk' then
  -- An older token than its claim came with last is left behind.
  local known = entry and read_entry(family['e:' .. entry])
  local is_owed = known and known.given == place and known.came < place
  if not entry then
    is_owed = record.to == claim and record.holder == holder and tonumber(record.used or '0') < place
      and not (newest and tonumber(family.used or '0') > place)
  end
  if not is_owed then
    return over({'spent'})
  elseif as == 'take' then
    return {'unused'}
  end
end
local entries, count = entries_of(family)
-- Before another login took its token over, its claim may have come to the one that is named after the holder.
local own_family_key, came_there = root .. 'family:' .. holder, nil
if id ~= holder and not entry and is_direct then
  came_there = redis.call('HGET', own_family_key, 'is:' .. claim)
  local there = came_there and read_entry(redis.call('HGET', own_family_key, 'e:' .. came_there))
  came_there = there and there.came_claim == claim and there.given == 0 and came_there
end
if not entry and as ~= 'claim' then
  if not came_there and newest and newest ~= name and tonumber(family.used or '0') > place then
    return over({'spent'})
  end
  -- One claim more may still present the newest token itself, and nothing is kept for it.
  if count < most_claims then
    entry = claim
  elseif is_spent or (newest and newest ~= name) then
    return over({'full'})
  end
end
if (is_spent or held.sealed) and is_end and not other then
  return over({'spent'})
end
-- A flight that left without a word makes way after ten minutes; one that waits still takes a new place when it looks.
redis.call('ZREMRANGEBYSCORE', order, '-inf', whole(now_us - 600 * 1000000))
local place_in_order = pod .. ' ' .. attempt .. ' ' .. name .. ' ' .. (entry or claim)
local called, called_until = string.match(family.called or '', '^(%S+) (%d+)$')
if called ~= attempt and redis.call('ZCARD', order) >= most_waiting and not redis.call('ZSCORE', order, place_in_order) then
  return {'full'}
end

-- From here on it is written.
if not is_member then
  redis.call('HSET', flight, 'family', id .. ' ' .. holder)
  if place > 1 and not record.generation then
    redis.call('HSET', flight, 'generation', whole(place), 'used', whole(place), 'holder', holder)
  end
end
-- Others that are owed what follows this token: the claim that it was given to, and the one that presents it or has. Each is known for as
-- long as what it was given lives.
local owed_ms = 0
if not newest and count + 2 < most_claims then
  if record.to and record.to ~= claim and not family['is:' .. record.to] then
    -- It may come with the token before, too: what is held for that tells how it is called then.
    local came = record.holder == holder and redis.call('HGET', root .. 'held:' .. (record.before or ''), 'claim') or '-'
    local its_name, holds_ms = family['is:' .. came] or record.to, tonumber(record.holds_ms) or entry_ms
    local given = read_entry(family['e:' .. its_name]) or new_entry(place - 1, came, holds_ms)
    if given.given < place then
      given.given, given.given_claim, given.holds_ms = place, record.to, math.max(given.holds_ms, holds_ms)
      write_entry(family_key, family, its_name, given, now)
    end
    owed_ms = given.holds_ms
  end
  -- Who presents a token of the family has an entry, with the token that it came with.
  local presents = not is_member and (record.state == 'leading' or is_spent) and record.client == client and record.claim
  if presents and presents ~= claim and not family['is:' .. presents] then
    local came = new_entry(place, presents, tonumber(followed.holds_ms) or entry_ms)
    write_entry(family_key, family, presents, came, now)
    owed_ms = math.max(owed_ms, came.holds_ms)
  end
end
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
-- Anybody can make tokens up. Its claims are known for as long as they are owed anything once a flight has landed that got one for it.
local is_proven = newest or is_spent or held.sealed or record.generation
local stays_ms = math.max(owed_ms, known.holds_ms)
if not is_proven then
  stays_ms = math.min(stays_ms, tonumber(unproven_ms))
end
keep_at_least(family_key, stays_ms)
keep_at_least(flight, stays_ms)
local lives_ms = redis.call('PTTL', family_key)
if redis.call('EXISTS', answers) == 1 then
  keep_at_least(answers, lives_ms)
end
local before
if newest then
  -- The newest token is given for as long as anybody is owed it.
  local newest_key, given_until = root .. 'flight:' .. newest, nil
  before, given_until = unpack(redis.call('HMGET', newest_key, 'before', 'given_until'))
  if given_until and tonumber(given_until) < now + lives_ms then
    redis.call('HSET', newest_key, 'given_until', whole(now + lives_ms))
    keep_at_least(newest_key, lives_ms)
  end
end

-- Who presents the newest token, or what followed the caller's; and who has, and tells nobody yet.
local function lease_of(token)
  local lock = root .. 'lock:' .. (token or '')
  local owner = token and token ~= '' and redis.call('MGET', lock)[1]
  if not owner then
    return 0
  end
  local left_ms, lease_ms = redis.call('PTTL', lock), tonumber(string.match(owner, '/(%d+)$'))
  if lease_ms and left_ms > lease_ms then
    -- The clock was set back: the lock would outlive a dead leader by as much.
    redis.call('PEXPIRE', lock, lease_ms)
    left_ms = lease_ms
  end
  return left_ms
end
-- A stranger's lead is waited for where the token is asked for: in the order of known clients, and not behind all strangers that come.
local function own_lease_of(token)
  local left_ms = lease_of(token)
  if left_ms <= 0 or token == name then
    return record.state == 'leading' and record.client ~= client and 0 or left_ms
  end
  local owner, of_stranger = unpack(redis.call('HMGET', root .. 'flight:' .. token, 'owner', 'stranger'))
  return of_stranger and of_stranger == string.match(owner or '', '/(%d+)/') and 0 or left_ms
end
local function untold_lease_of(token)
  local left_ms = lease_of(token)
  local owner, untold = unpack(left_ms > 0 and redis.call('HMGET', root .. 'flight:' .. token, 'owner', 'untold') or {})
  return untold and untold == string.match(owner or '', '/(%d+)/') and left_ms or 0
end
local tells_ms = untold_lease_of(before)
local leads_ms = math.max(tells_ms, own_lease_of(newest or name), own_lease_of(other and held.next))

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

-- Who comes with a token that followed finds the family, too; and whoever presents it calls those that wait here.
local next_name, next_holder, its_family = other and held.next, followed.holder, followed.family
for _ = 1, 16 do
  local next_key = next_name and root .. 'flight:' .. next_name
  if next_key and next_holder then
    -- It is not over before this flight asks about it.
    keep_at_least(next_key, tonumber(unproven_ms))
  end
  if not next_key or its_family then
    break
  elseif next_holder then
    redis.call('HSET', next_key, 'family', id .. ' ' .. next_holder)
  end
  local followed_by, presented_by = unpack(redis.call('HMGET', root .. 'held:' .. next_name, 'next', 'holder'))
  -- Where another credential presented it, what followed is of that one's login.
  next_name = presented_by == next_holder and followed_by
  next_holder, its_family = unpack(next_name and redis.call('HMGET', root .. 'flight:' .. next_name, 'holder', 'family') or {})
end

-- Whose turn it is. The more wait, the later each looks: it is called before.
local function wait(look_ms)
  redis.call('ZADD', order, 'NX', whole(now_us), place_in_order)
  keep_at_least(order, stays_ms)
  return {'wait', math.max(1, math.min(longest_look_ms, look_ms + 100 * redis.call('ZCARD', order)))}
end
if leads_ms > 0 then
  return wait(leads_ms)
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
if newest and newest ~= name and key == '' and not other then
  return done({'spent'})
end
redis.call('ZREM', order, place_in_order)
redis.call('HSET', family_key, 'called', attempt .. ' ' .. whole(now + called_ms))
if not entry then
  -- Nothing else may be known of the login.
  keep_at_least(family_key, called_ms)
end

if other then
  return {'other', id, key, place, other.claim, other.fence, other.attempt, math.max(0, now - (tonumber(other.landed_at) or now)),
    other.sealed, whole(next_place or place + 1)}
elseif newest and newest ~= name then
  return {'newest', id, key, place, newest_place, family.newest_token}
end
return {'own', id, key, place}
