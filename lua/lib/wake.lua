-- The flights of one login that wait for their turn to present its newest token; the keys are told in family.lua. Comes after keep.lua.

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

local function keys_of_family(flight, name, family_field)
  local id = string.match(family_field, '^%x+')
  local root = string.sub(flight, 1, -#name - #'flight:' - 1)
  return root .. 'family:' .. id, root .. 'order:' .. id
end

-- A flight has ended that may have presented the login's newest token: whose turn is next is called. The others of the claim that was
-- answered, where one was, are called as well: they are handed that.
local function wake_family(flight, name, family_field, channels, now, called_ms, entry, first_entry)
  local family, order = keys_of_family(flight, name, family_field)
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

-- A completion tells the login of its token, and the one that only it knows of. is_plain: the token was presented outside of the family,
-- which is to find that out for as long as it knows the token.
local function wake_families(flight, name, family_field, own_id, channels, now, called_ms, what)
  local id = string.match(family_field or '', '^%x+')
  if id and what.is_plain then
    local lives_ms = redis.call('PTTL', (keys_of_family(flight, name, id)))
    if lives_ms > 0 then
      keep_at_least(flight, lives_ms)
    end
    -- Who comes with the token that followed finds the claims that wait, or were told of this one as the newest.
    if what.next_holder and redis.call('HGET', what.link, 'generation') and not redis.call('HGET', what.link, 'family') then
      redis.call('HSET', what.link, 'family', id .. ' ' .. what.next_holder)
    end
  end
  if id and what.fails_ms then
    -- Where no claim has presented what another was given, nobody is owed anything that a failure brought. Who waits notes itself again.
    local login = keys_of_family(flight, name, id)
    if not redis.call('HGET', login, 'newest') and redis.call('PTTL', login) > what.fails_ms then
      redis.call('PEXPIRE', login, whole(what.fails_ms))
      redis.call('PEXPIRE', flight, whole(math.max(1, math.min(redis.call('PTTL', flight), what.fails_ms))))
    end
  end
  if what.is_untold then
    return
  end
  if id then
    wake_family(flight, name, id, channels, now, called_ms, what.entry, what.first_entry)
  end
  if own_id and own_id ~= id then
    wake_family(flight, name, own_id, channels, now, called_ms, what.entry, what.first_entry)
  end
end

-- A flight waits no longer for its turn. Where that has come, the next is called.
local function leave_order(flight, name, family_field, place, channels, now, called_ms)
  local family, order = keys_of_family(flight, name, family_field)
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
