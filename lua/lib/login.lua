-- The login that a token belongs to; its keys are told in family.lua.

-- What all keys of the namespace begin with.
local function root_of(flight)
  return string.match(flight, '^(.*:)flight:%w+$')
end

-- The family that the record of a token names, nil where it names none.
local function family_of(flight, record)
  local id = string.match(record.family or '', '^%x+')
  return id and root_of(flight) .. 'family:' .. id
end

-- How long the login is known, 0 where the token belongs to none: the record of the token lives as long, whoever presents the token.
local function login_ms(flight, record)
  local family = family_of(flight, record)
  return family and math.max(0, redis.call('PTTL', family)) or 0
end
