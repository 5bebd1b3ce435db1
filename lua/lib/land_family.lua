-- What a completion tells the login whose token it rotated, for the claim that it was presented for; the keys are told in family.lua.
-- Comes after family.lua, keep.lua and login.lua.

-- Whether the record of a token is to be remembered for what it says of itself: somebody leads, or it is uncertain for somebody.
local function says_more(state, token_state, others, lost_leaders)
  return token_state ~= 'rotated' and (state == 'leading' or state == 'lost' or token_state == 'unknown' or others
    or tonumber(lost_leaders or '0') > 0)
end

-- No entry names some places any more: the records of their tokens live no longer than those of tokens without a family.
local function release_places(keys, family, next_place, short_ms, now)
  local named = {[next_place] = true}
  for _, entry in pairs(entries_of(family)) do
    named[entry.came], named[entry.given] = true, true
    local came = family['at:' .. entry.came]
    if came and not redis.call('HGET', keys.root .. 'flight:' .. came, 'family_key') then
      -- The way from there leads by the token that followed: that has the key.
      named[entry.came + 1] = true
    end
  end
  for field, name in pairs(family) do
    local place = tonumber(string.match(field, '^at:(%d+)$'))
    if place and not named[place] then
      redis.call('HDEL', keys.family, field)
      local flight = keys.root .. 'flight:' .. name
      local state, token_state, others, lost_leaders, ended = unpack(redis.call('HMGET', flight, 'state', 'token_state', 'others',
        'lost_leaders', 'ended'))
      local span_ms = math.max(short_ms, (tonumber(ended) or now) - now)
      if not says_more(state, token_state, others, lost_leaders) and redis.call('PTTL', flight) > span_ms then
        redis.call('PEXPIRE', flight, whole(span_ms))
      end
    end
  end
  return named
end

local function forget_entry(keys, family, name, entry)
  redis.call('HDEL', keys.family, 'e:' .. name)
  redis.call('HDEL', keys.answers, name)
  family['e:' .. name] = nil
  for _, claim in ipairs({entry.came_claim, entry.given_claim}) do
    if family['is:' .. claim] == name then
      redis.call('HDEL', keys.family, 'is:' .. claim)
      family['is:' .. claim] = nil
    end
  end
end

-- Claims that have not come for as long as they are known.
local function forget_over(keys, family, now)
  for name, entry in pairs(entries_of(family)) do
    if entry.ends < now then
      forget_entry(keys, family, name, entry)
    end
  end
end

-- A token of the login: its record leads to the family for as long as anybody is owed what follows. Where the record was lost, it is known
-- again by its place; and it counts as used, which nobody knows any more.
local function note_member(key, id, holder, sealed_key, place, lives_ms)
  redis.call('HSET', key, 'family', id .. ' ' .. holder, 'family_key', sealed_key)
  if place > 1 and not redis.call('HGET', key, 'generation') then
    redis.call('HSET', key, 'generation', whole(place), 'used', whole(place), 'holder', holder)
  end
  keep_at_least(key, lives_ms)
end

-- What another claim was given for the token before this one, where the family did not tell this: it is owed what follows. Returns for how
-- long that is known. It may have come with the token in that already.
local function note_before(keys, family, text, to, own, here_place, now)
  local claim, fence, attempt, age_ms, good_ms, holds_ms, sealed = string.match(text, '^(%x+) (%d+) (%S+) (%d+) (%d+) (%d+)\n(.*)$')
  if not claim then
    return 0
  end
  local name = family['is:' .. claim] or family['is:' .. (to or '-')] or claim
  local entry = read_entry(family['e:' .. name]) or new_entry(own.place, claim, 0)
  if entry.given >= here_place then
    return 0
  end
  -- Who found it under way could not know how long what it brought lives.
  entry.holds_ms = math.max(entry.holds_ms, tonumber(holds_ms))
  -- How it is called with that token may be lost; follow.lua finds it by the place then.
  entry.given, entry.given_claim, entry.sealed_claim, entry.fence, entry.attempt = here_place, to or '-', claim, fence, attempt
  entry.landed_at, entry.good_until = whole(now - age_ms), now + good_ms
  write_entry(keys.family, family, name, entry, now)
  redis.call('HSET', keys.answers, name, sealed)
  return entry.holds_ms
end

-- The claim that the token was given to, where that was lost with the server.
local function note_to(keys, family, record, claim, here_place, holds_ms, now)
  local to, _, count = record.to, entries_of(family)
  if not to or to == claim or family['is:' .. to] or family['e:' .. to] or count >= most_claims then
    return
  end
  local entry = new_entry(here_place - 1, '-', tonumber(record.holds_ms) or holds_ms)
  entry.given, entry.given_claim = here_place, to
  write_entry(keys.family, family, to, entry, now)
end

-- Whether a flight waits for its turn that came by this entry.
local function is_waited_for(keys, id, name)
  for _, member in ipairs(redis.call('ZRANGE', keys.root .. 'order:' .. id, 0, -1)) do
    if string.sub(member, -#name) == name then
      return true
    end
  end
end

-- A claim that has presented a token is one, by whatever name it was noted before: called is how it is called with tokens that its pod
-- knows of. What it came with later than that stays. A flight that waits came before that, and is served: its own landing does the same.
local function merge_entries(keys, id, family, name, entry, called, here_place)
  for claim in string.gmatch(called, '%x+') do
    local other_name = family['is:' .. claim]
    local other = other_name and other_name ~= name and read_entry(family['e:' .. other_name])
    if other and other.came <= here_place and other.given <= here_place and not is_waited_for(keys, id, other_name) then
      forget_entry(keys, family, other_name, other)
      if other.came > entry.came then
        entry.came, entry.came_claim = other.came, other.came_claim
      end
    end
  end
end

-- By what claims are called that have presented no token: those that present one later are known by that.
local function keep_names(keys, family, sealed, own_place, here_place)
  local places, half = places_of_names(family), #sealed / 2
  for place, key in pairs({[own_place] = string.sub(sealed, 1, half), [here_place] = string.sub(sealed, half + 1)}) do
    if places[place] then
      redis.call('HSET', keys.family, 'named:' .. place, key)
    end
  end
  for field in pairs(family) do
    local place = tonumber(string.match(field, '^named:(%d+)$'))
    if place and not places[place] then
      redis.call('HDEL', keys.family, field)
    end
  end
end

-- Of claims that were known before the family was made it is not known how long their access tokens live: as long as this one.
local function keep_first(keys, family, holds_ms, now)
  for name, entry in pairs(entries_of(family)) do
    if entry.holds_ms < holds_ms then
      entry.holds_ms = holds_ms
      write_entry(keys.family, family, name, entry, now)
    end
  end
end

-- keys: family, answers, link (record of the token in the outcome), flight (that of the token that was presented), name. answer: claim and
-- holder (of the presented token), next_flight, next_holder, next_claim, fence, attempt, landed_at. record: that of the presented
-- token. The rest are the last arguments of complete.lua, by its names. Returns the entry of the claim.
local function land_in_family(keys, answer, record, now, short_ms)
  local id, own_flight, own_holder, own_claim, name, own_place, here_place, good_ms, holds_ms =
    string.match(login, '^(%x+) (%x+) (%x+) (%x+) (%x+) (%d+) (%d+) (%d+) (%d+)$')
  own_place, here_place, good_ms, holds_ms = tonumber(own_place), tonumber(here_place), tonumber(good_ms), tonumber(holds_ms)
  keys.root = root_of(keys.flight)
  -- A token that may be used again is what its claim was given: it stands where it stood.
  local is_kept = answer.next_flight == keys.name
  local family, next_place = read_hash(keys.family), is_kept and here_place or here_place + 1
  local own = {place = own_place}
  forget_over(keys, family, now)
  local before_ms = given_before ~= '' and note_before(keys, family, given_before, record.to, own, here_place, now) or 0
  if not family.newest then
    note_to(keys, family, record, answer.claim, here_place, holds_ms, now)
    keep_first(keys, family, holds_ms, now)
  end

  -- Until a claim has presented a token, its entry is called as the claim is with the token that it came with.
  local first_name = family['is:' .. own_claim] or name
  local entry, first = read_entry(family['e:' .. name]), first_name ~= name and read_entry(family['e:' .. first_name])
  if first then
    forget_entry(keys, family, first_name, first)
  end
  local _, count = entries_of(family)
  entry = entry or first or (count < most_claims and new_entry(own_place, own_claim, holds_ms))
  -- Told again after a failover, others may have gone on since, and the claim itself.
  local is_later = is_kept and entry and entry.given == next_place and tonumber(entry.fence) < tonumber(answer.fence)
  if entry and (entry.given < next_place or is_later) then
    if entry.came <= own_place then
      entry.came, entry.came_claim = own_place, own_claim
    end
    merge_entries(keys, id, family, name, entry, called, here_place)
    entry.given, entry.given_claim, entry.sealed_claim, entry.holds_ms = next_place, answer.next_claim, answer.next_claim, holds_ms
    entry.fence, entry.attempt, entry.landed_at = answer.fence, answer.attempt, whole(answer.landed_at)
    entry.good_until = answer.landed_at + good_ms
    write_entry(keys.family, family, name, entry, now)
    redis.call('HSET', keys.answers, name, sealed_answer)
  end

  family['at:' .. own_place], family['at:' .. next_place] = own_flight, answer.next_flight
  redis.call('HSET', keys.family, 'used', whole(math.max(tonumber(family.used or '0'), own_place)), 'at:' .. own_place, own_flight,
    'at:' .. next_place, answer.next_flight)
  if tonumber(string.match(family.newest or '', '^%d+') or '0') < next_place then
    redis.call('HSET', keys.family, 'newest', whole(next_place) .. ' ' .. answer.next_flight, 'newest_token', newest_token)
  end
  local longest_ms = math.max(holds_ms, before_ms)
  keep_at_least(keys.family, longest_ms)
  for _, known in pairs(entries_of(family)) do
    keep_at_least(keys.family, known.ends - now)
  end
  local lives_ms = redis.call('PTTL', keys.family)
  keep_at_least(keys.answers, lives_ms)

  if not is_kept and not redis.call('HGET', keys.link, 'generation') then
    redis.call('HSET', keys.link, 'generation', whole(next_place), 'used', '0', 'holder', answer.next_holder, 'given_at',
      whole(answer.landed_at), 'given_until', whole(now + lives_ms), 'before', keys.name, 'to', answer.next_claim, 'holds_ms',
      whole(holds_ms))
  end
  note_member(keys.link, id, answer.next_holder, next_key, next_place, lives_ms)
  if not is_kept then
    redis.call('HSET', keys.link, 'entry', name)
  end
  note_member(keys.root .. 'flight:' .. own_flight, id, own_holder, own_key, own_place, longest_ms)
  keep_names(keys, family, naming, own_place, here_place)
  family['at:' .. here_place] = keys.name
  if release_places(keys, family, next_place, short_ms, now)[here_place] and own_flight ~= keys.name then
    redis.call('HSET', keys.family, 'at:' .. here_place, keys.name)
    note_member(keys.flight, id, answer.holder, here_key, here_place, lives_ms)
  end
  return name, first_name
end
