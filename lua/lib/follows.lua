-- Whether a flight is to ask where other claims of its client went (follow.lua). Names what begin.lua knows as that does.

-- The login that the token belongs to, for who holds it.
local is_member = record.family and string.match(record.family, ' (%x+)$') == coming.holder

-- Whether its login knows of no newer one.
local function is_newest()
  -- PARTS HERE: names login
  local newest = redis.call('HGET', family_of(flight, record), 'newest')
  return not newest or string.match(newest, '%x+$') == name_of(flight)
end

local function goes_among_claims()
  local is_held = held.sealed and held.holder == coming.holder
  local is_rotated = is_held or (state == 'landed' and record.token_state == 'rotated')
  if coming.as == 'past' then
    return false
  elseif owner then
    -- A stranger's lead of the newest token is waited for here: known clients lead next, and no other stranger before them.
    return record.claim ~= claim and (record.client == client or (is_member and (not coming.is_in_turn or not is_newest())))
  elseif coming.is_in_turn then
    -- What became of the token may be written over by a stranger that came with it since: the login knows whether it is the newest.
    return (is_rotated and (is_member or record.client == client or is_held)) or (is_member and not is_newest())
  elseif is_member then
    return true
  elseif is_held then
    return held.claim ~= claim and tonumber(held.used) <= tonumber(held.generation)
  elseif is_rotated then
    return record.claim ~= claim and record.client == client and is_fresh
  end
  -- It was given to another claim, which may come with it yet.
  return coming.as == 'direct' and record.to and record.to ~= claim and record.holder == coming.holder
end
