-- A login whose tokens several claims come with. Mirrors src/store/memory/family.rs.
--
-- family:<id>    hash: newest (place and flight of the newest token), newest_token (that token, sealed under the family's key), used
--                (the newest place that anybody came with), called (the attempt whose turn it is, and until when), ended (until
--                when its session counts as ended), and for each claim
--                e:<entry>   came, given, holds_ms, ends, good_until, fence, attempt, landed_at, came_claim, given_claim, sealed_claim: the
--                            place that it came with last and the one that it was given last (0: none), what of that answer, and how
--                            the claim is called with the tokens of these places and in the seal of the answer
--                is:<claim>  the entry of this claim, as it is called with the token of either place
--                at:<place>  the flight of a token that an entry names
--                named:<place>  by what claims are called with the token there, where an entry is of one that has presented none: sealed
--                            under the family's key
-- answers:<id>   hash: by entry, the answer that the claim was given last, sealed under the family's key
-- order:<id>     sorted set: '<pod> <attempt> <flight> <entry>' -> when it came, in us
-- flight:<flight>  family ('<id> <holder>'), family_key (the family's key, sealed for the holder of this token), to (the claim that
--                the token was given to, as it is called with it)

-- So many claims of one login are known.
local most_claims = 64

local function read_entry(text)
  local came, given, holds_ms, ends, good_until, fence, attempt, landed_at, came_claim, given_claim,
    sealed_claim = string.match(text or '', '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%S+) (%d+) (%S+) (%S+) (%S+)$')
  return came and {came = tonumber(came), given = tonumber(given), holds_ms = tonumber(holds_ms), ends = tonumber(ends),
    good_until = tonumber(good_until), fence = fence, attempt = attempt, landed_at = landed_at, came_claim = came_claim,
    given_claim = given_claim, sealed_claim = sealed_claim}
end

local function new_entry(came, claim, holds_ms)
  return {came = came, given = 0, holds_ms = holds_ms, ends = 0, good_until = 0, fence = '0', attempt = '-', landed_at = '0',
    came_claim = claim, given_claim = '-', sealed_claim = '-'}
end

-- Writes an entry, with the names by which its claim finds it; family is what stands at key, and is kept as it is written.
local function write_entry(key, family, name, entry, now)
  entry.ends = now + entry.holds_ms
  local before = read_entry(family['e:' .. name])
  if before then
    for _, claim in ipairs({before.came_claim, before.given_claim}) do
      if claim ~= '-' and claim ~= entry.came_claim and claim ~= entry.given_claim then
        redis.call('HDEL', key, 'is:' .. claim)
        family['is:' .. claim] = nil
      end
    end
  end
  local text = table.concat({whole(entry.came), whole(entry.given), whole(entry.holds_ms), whole(entry.ends), whole(entry.good_until),
    entry.fence, entry.attempt, entry.landed_at, entry.came_claim, entry.given_claim,
    entry.sealed_claim}, ' ')
  redis.call('HSET', key, 'e:' .. name, text)
  family['e:' .. name] = text
  for _, claim in ipairs({entry.came_claim, entry.given_claim}) do
    if claim ~= '-' then
      redis.call('HSET', key, 'is:' .. claim, name)
      family['is:' .. claim] = name
    end
  end
end

local function entries_of(family)
  local entries, count = {}, 0
  for field, text in pairs(family) do
    if string.sub(field, 1, 2) == 'e:' then
      entries[string.sub(field, 3)], count = read_entry(text), count + 1
    end
  end
  return entries, count
end

-- Whether its claim has presented a token: then its entry is called alike whatever token it comes with, and its answer is sealed for the
-- claim as it is called with the token in that.
local function has_presented(entry)
  return entry.sealed_claim ~= '-' and entry.sealed_claim == entry.given_claim
end

-- The places of the tokens that claims are called with which have presented none.
local function places_of_names(family)
  local places = {}
  for _, entry in pairs(entries_of(family)) do
    if not has_presented(entry) then
      places[entry.came] = places[entry.came] or entry.came_claim ~= '-'
      places[entry.given] = places[entry.given] or entry.given_claim ~= '-'
    end
  end
  return places
end

-- By what these claims are called, one after the other.
local function names_of_family(family)
  local names = {}
  for place, is_named in pairs(places_of_names(family)) do
    names[#names + 1] = is_named and family['named:' .. place] or nil
  end
  return table.concat(names)
end
