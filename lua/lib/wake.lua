-- The flights of one login that wait for their turn to present its newest token; the keys are told in family.lua. Comes after keep.lua and login.lua.

-- Calls the flight that came first, and forgets those before it whose pods do not listen. It has called_ms to come.
local function call_next(family, order, channels, now, called_ms)
  for _ = 1, 64 do
    local first = redis.call('ZPOPMIN', order)[1]
    if not first then
      return
    end
    local pod, attempt, name = string.match(first, '^(%S+) (%S+) (%x+) ')
    redis.call('HSET', family, 'called', attempt .. ' ' .. whole(now + called_ms))
    keep_at_least(family, called_ms)
    local heard = redis.pcall('PUBLISH', channels .. pod, 'turn ' .. name .. ' ' .. attempt)
    if type(heard) ~= 'number' or heard > 0 then
      return
    end
  end
end

-- A flight of the login has ended that may have presented its newest token: whose turn is next is called. The others of the claim that
-- was answered, where one was, are called as well: they are handed that.
local function wake_family(flight, id, channels, now, called_ms, entry, first_entry)
  local family, order = root_of(flight) .. 'family:' .. id, root_of(flight) .. 'order:' .. id
  if entry then
    for _, member in ipairs(redis.call('ZRANGE', order, 0, -1)) do
      local pod, attempt, its_name, its_entry = string.match(member, '^(%S+) (%S+) (%x+) (%x+)$')
      if its_entry == entry or its_entry == first_entry then
        redis.call('ZREM', order, member)
        redis.pcall('PUBLISH', channels .. pod, 'turn ' .. its_name .. ' ' .. attempt)
      end
    end
  end
  redis.call('HDEL', family, 'called')
  call_next(family, order, channels, now, called_ms)
end

-- The token of a family is no made-up one: the claims that came are known for as long as each is owed anything. Answers for how long.
local function keep_for_claims(key, family, now)
  local longest_ms = redis.call('PTTL', key)
  for field, text in pairs(family) do
    if string.sub(field, 1, 2) == 'e:' then
      longest_ms = math.max(longest_ms, string.match(text, '^%d+ %d+ %d+ (%d+) ') - now)
    end
  end
  if longest_ms > 0 then
    keep_at_least(key, longest_ms)
  end
  return longest_ms
end

-- Its holder had the token rotated outside of its family, which is to find that out for as long as it knows the token. Who comes with the
-- token that followed finds the claims that wait, or were told of this one as the newest.
local function note_rotated_outside(flight, family, id, link, next_holder)
  local lives_ms = keep_for_claims(family, read_hash(family), (read_clock()))
  if lives_ms > 0 then
    keep_at_least(flight, lives_ms)
  end
  if next_holder and redis.call('HGET', link, 'generation') and not redis.call('HGET', link, 'family') then
    redis.call('HSET', link, 'family', id .. ' ' .. next_holder)
  end
end

-- A flight of the login has failed. Where no claim has presented what another was given, nobody is owed anything, and the family is
-- forgotten within a while, unless its session has ended. What the record of the token remembers of itself, it does for keep_ms. Who waits
-- notes itself again.
local function forget_unowed(flight, family, within_ms, keep_ms, now)
  local newest, ended = unpack(redis.call('HMGET', family, 'newest', 'ended'))
  if not newest and tonumber(ended or '0') <= now and redis.call('PTTL', family) > within_ms then
    redis.call('PEXPIRE', family, whole(within_ms))
    redis.call('PEXPIRE', flight, whole(math.max(1, math.min(redis.call('PTTL', flight), math.max(within_ms, keep_ms)))))
  end
end

-- A completion tells the login of its token, and its caller's own, which only it knows of where the record of the token was lost.
-- what: own_id; is_outside where it rotated the token outside of the family, with link, next_holder where there is a chain; fails_ms where
-- it failed, within which nobody asks for it any more, and keep_ms, for how long its record is kept without a login; is_untold where whoever
-- waits is told later; entry, first_entry of the claim that was answered.
local function tell_logins(flight, record, channels, now, called_ms, what)
  local id, member = string.match(record.family or '', '^(%x+) (%x+)$')
  -- The family of another credential learns nothing of the token that followed: it may be one of strangers with a wrong secret.
  if id and what.is_outside and member == what.own_id then
    note_rotated_outside(flight, family_of(flight, record), id, what.link, what.next_holder)
  end
  if id and what.fails_ms then
    forget_unowed(flight, family_of(flight, record), what.fails_ms, what.keep_ms, now)
  end
  if what.is_untold then
    return
  end
  if id then
    wake_family(flight, id, channels, now, called_ms, what.entry, what.first_entry)
  end
  if what.own_id and what.own_id ~= id then
    wake_family(flight, what.own_id, channels, now, called_ms, what.entry, what.first_entry)
  end
end

-- A flight waits no longer for its turn. Where that has come, the next is called.
local function leave_order(flight, id, place, channels, now, called_ms)
  local family, order = root_of(flight) .. 'family:' .. id, root_of(flight) .. 'order:' .. id
  for _, member in ipairs(redis.call('ZRANGE', order, 0, -1)) do
    if string.sub(member, 1, #place) == place then
      redis.call('ZREM', order, member)
    end
  end
  local called = redis.call('HGET', family, 'called')
  if called and string.find(place, ' ' .. string.match(called, '^%S+') .. ' ', 1, true) then
    redis.call('HDEL', family, 'called')
    call_next(family, order, channels, now, called_ms)
  end
end
