-- The same attempt begins again: its first answer was lost on the way, and its function was never polled. Names the keys and
-- arguments of begin.lua as that does; comes after begun.lua.

-- Its answer, nil where it begins anew.
local function begin_again()
  if record.state == 'landed' then
    return done({'landed', record.fence, record.attempt, passed_ms(record.landed_at, now), record.sealed})
  end
  -- PARTS HERE: fields keep login flight accounts session stamps circuit in_use permits lines freed budget
  if owner == record.owner then
    redis.call('SET', lock, owner, 'PX', lease_ms)
    keep_at_least(flight, lease_ms + memory_ms)
    renew_permit(budget, owner)
    renew_probe(circuit_key, record.fence, now, {quiet_ms = quiet_ms, lease_ms = lease_ms})
    -- PARTS HERE: run_id
    return {'lead', record.fence, record.known_before, ask_run_id() or ''}
  elseif not owner then
    -- Its lease is over, and others were admitted meanwhile: it begins anew.
    uncharge_attempt(attempts, record.charged_window)
    undo_lead(flight, record, lease_ms)
  end
end
