-- Whether a flight is to ask where other claims of its client went (follow.lua). Names what begin.lua knows as that does.

-- The login that the token belongs to, for who holds it.
local is_member = record.family and string.match(record.family, ' (%x+)$') == coming.holder

local function goes_among_claims()
  local is_held = held.sealed and held.holder == coming.holder
  local is_rotated = is_held or (state == 'landed' and record.token_state == 'rotated')
  if coming.as == 'past' then
    return false
  elseif owner then
    return record.claim ~= claim and (record.client == client or is_member)
  elseif coming.as == 'turn' or coming.as == 'claim' then
    return is_rotated and (is_member or record.client == client or is_held)
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
