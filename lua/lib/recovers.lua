-- Whether a server knows what there is to know of a login; begin.lua notes that in incarnation (lib/incarnation.lua).

-- For how long it recovers yet, nil where it may have forgotten the login.
local function recovers_ms(incarnation, now)
  local run_id, until_ms, span_ms = string.match(redis.call('GET', incarnation) or '', '^(%w+) (%d+) (%d+)$')
  if until_ms and tonumber(until_ms) > now + tonumber(span_ms) then
    -- The clock was set back.
    until_ms = now + span_ms
    redis.call('SET', incarnation, run_id .. ' ' .. whole(until_ms) .. ' ' .. span_ms)
  end
  return until_ms and until_ms - now
end
