-- The run id of this server, nil where the user may not ask; and all that it says.
local function ask_run_id()
  local info = redis.pcall('INFO', 'server')
  -- It is far down there, and to match all before it costs as much as a small call.
  local _, before = string.find(type(info) == 'string' and info or '', 'run_id:', 1, true)
  return before and string.sub(info, before + 1, before + 40), info
end
