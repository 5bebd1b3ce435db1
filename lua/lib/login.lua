-- How long the login is known that a token belongs to, 0 where it belongs to none: its record lives as long, whoever presents the token.
local function login_ms(flight, record)
  local id = string.match(record.family or '', '^%x+')
  return id and math.max(0, redis.call('PTTL', string.match(flight, '^(.*:)flight:%w+$') .. 'family:' .. id)) or 0
end
