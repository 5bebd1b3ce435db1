-- Holds an answer until somebody has used the token that it gave; the keys are told in held.lua.

-- The answer of this flight is over.
local function release(held, index, name)
  redis.call('DEL', held)
  redis.call('ZREM', index, name)
end

-- The key of another flight's answer.
local function held_of(held, name, other)
  return string.sub(held, 1, -#name - 1) .. other
end

-- Of the answers before this token those are over that gave a token which somebody came with: used is the generation of the newest
-- of these. A caller that is always a token late uses each, but never the newest.
local function release_used(place, before, generation, used)
  for _ = 1, 16 do
    if not before or before == '' then
      return
    end
    local one_more = redis.call('HGET', held_of(place.held, place.name, before), 'before')
    if used >= generation then
      release(held_of(place.held, place.name, before), place.index, before)
    end
    before, generation = one_more, generation - 1
  end
end

-- answer: claim, holder, attempt, fence, landed_at, sealed, next (the flight of the token it gave), next_holder, next_claim, holds_ms (how
-- long that is known). record: that of the flight. place: held, link, index (keys), name. rules: until_used_ms, at_most. Returns how many
-- made way, and whether it is held.
local function hold(place, record, answer, now, rules)
  local generation, used = tonumber(record.generation or '1'), tonumber(record.used or '0')
  release_used(place, record.before, generation, used)
  if redis.call('EXISTS', place.link) == 1 then
    -- Somebody has the new token already. Where this is told again after a failover, that claim may be owed what followed.
    if not redis.call('HGET', place.link, 'to') then
      redis.call('HSET', place.link, 'to', answer.next_claim, 'holds_ms', answer.holds_ms)
    end
    return 0, false
  end
  local ends = whole(now + rules.until_used_ms)
  redis.call('DEL', place.held)
  redis.call('HSET', place.held, 'claim', answer.claim, 'holder', answer.holder, 'attempt', answer.attempt, 'fence',
    answer.fence, 'landed_at', whole(answer.landed_at), 'generation', generation, 'used', used, 'next', answer.next, 'before',
    record.before or '', 'sealed', answer.sealed)
  redis.call('PEXPIREAT', place.held, ends)
  redis.call('HSET', place.link, 'generation', generation + 1, 'used', used, 'holder', answer.next_holder, 'given_at',
    whole(answer.landed_at), 'given_until', ends, 'before', place.name, 'to', answer.next_claim, 'holds_ms', answer.holds_ms)
  redis.call('PEXPIREAT', place.link, ends)
  redis.call('ZADD', place.index, ends, place.name)
  redis.call('ZREMRANGEBYSCORE', place.index, '-inf', whole(now))
  keep_at_least(place.index, rules.until_used_ms)
  local most = redis.call('ZCARD', place.index) - rules.at_most
  if most <= 0 then
    return 0, true
  end
  local oldest = redis.call('ZPOPMIN', place.index, most)
  for i = 1, #oldest, 2 do
    redis.call('DEL', held_of(place.held, place.name, oldest[i]))
  end
  return most, true
end
