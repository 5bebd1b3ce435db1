-- Answers that are held until somebody has used the token that they gave. Mirrors src/store/memory/held.rs.
--
-- held:<flight>    hash, for the token that was rotated: its answer, for whom, until when
-- flight:<flight>  of the token that it gave: generation (where it stands in its chain), holder (who may say that it was used),
--                  used (the highest generation that somebody came with directly), given_at, given_until, before (the flight
--                  of the token before it). While it has a given_until and no state, nobody has presented the token.
-- held_until       sorted set: flight -> until when its answer is held
--
-- The answers that make way are known only inside of the scripts: their keys are in the slot of the others, and not in KEYS.

-- As what a flight comes: 'direct', 'take', 'walk', 'past', 'turn' (with the token itself, whose turn it is among claims), 'claim'
-- (with an older one, whose turn it is); and whether it follows where other claims went: then it says so at the end.
local function read_coming(text)
  local as, holder, from, follows = string.match(text, '^(%a+) (%x+) (%d+)(.*)$')
  return as and {as = as, holder = holder, from = tonumber(from), follows = follows ~= '',
    is_own = as == 'direct' or as == 'past' or as == 'turn', is_in_turn = as == 'turn' or as == 'claim'}
end

-- Notes with which token somebody came, where it is the holder's: what gave that token is over. Answers the link.
local function note_use(coming, places)
  local link
  for key, record in pairs(places) do
    if record.generation and record.holder == coming.holder then
      local used = coming.is_own and record.generation or coming.from
      if tonumber(record.used) < tonumber(used) then
        redis.call('HSET', key, 'used', used)
        record.used = used
      end
      link = record
    end
  end
  return link
end

-- The token that followed is behind a token that was used: an older way may have been made short, and lead there at once.
local function note_next(flight, name, held)
  local next_flight = string.sub(flight, 1, -#name - 1) .. held.next
  local before, used = unpack(redis.call('HMGET', next_flight, 'before', 'used'))
  if before == name and tonumber(used) < tonumber(held.used) then
    redis.call('HSET', next_flight, 'used', held.used)
  end
end

-- When writes were last lost, as far as is noted.
local function lost_at(noted)
  local until_ms, span_ms = string.match(noted or '', ' (%d+) (%d+)$')
  return tonumber(until_ms or '0') - tonumber(span_ms or '0')
end

-- How a caller comes along a chain, what is held for the token, whether the caller walks, when writes were lost last, and why it
-- cannot go on here, 'broken' or 'used', nil where it can.
-- What is held is looked at whatever the record says: others may have come with the token since, and left it untouched. Where
-- somebody leads, it is looked at later.
local function come_along(chain, noted, flight, record, held_key, is_led)
  local coming, held, ended = read_coming(chain), {}, nil
  local is_walker = not coming.is_own
  if not is_led then
    held = read_hash(held_key)
  end
  local link = note_use(coming, {[flight] = record, [held_key] = held})
  if not is_walker and held.next and held.holder == coming.holder then
    -- PARTS HERE: names
    note_next(flight, name_of(flight), held)
  end
  if is_walker and not link then
    -- The family knows the token as its newest: what nothing else is known of, nobody has presented.
    ended = coming.as ~= 'claim' and 'broken' or nil
  elseif is_walker and coming.as ~= 'claim' and tonumber(link.used) > coming.from then
    ended = 'used'
  end
  return coming, held, is_walker, lost_at(noted), ended
end
