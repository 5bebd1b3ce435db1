-- Others that are owed what follows a token: a claim that comes with it notes them before the family has a key. Comes after family.lua.

-- The claim that the token was given to. It may come with the token before, too: what is held for that tells how it is called then. A claim
-- that has an entry of this name has come since by another. Answers for how long it is known.
local function note_given(root, family_key, family, record, place, holder, entry_ms, now)
  local to = record.to
  if family['is:' .. to] or family['e:' .. to] then
    return 0
  end
  local came = record.holder == holder and redis.call('HGET', root .. 'held:' .. (record.before or ''), 'claim') or '-'
  local its_name, holds_ms = family['is:' .. came] or to, tonumber(record.holds_ms) or entry_ms
  local given = read_entry(family['e:' .. its_name]) or new_entry(place - 1, came, holds_ms)
  if given.given < place then
    given.given, given.given_claim, given.holds_ms = place, to, math.max(given.holds_ms, holds_ms)
    write_entry(family_key, family, its_name, given, now)
  end
  return given.holds_ms
end

-- The claim that presents the token, or has. Answers for how long it is known.
local function note_presenter(family_key, family, presents, place, holds_ms, now)
  if family['is:' .. presents] or family['e:' .. presents] then
    return 0
  end
  write_entry(family_key, family, presents, new_entry(place, presents, holds_ms), now)
  return holds_ms
end
