-- The fields that begin so, by what follows.
local function fields_after(record, prefix)
  local found = {}
  for field, value in pairs(record) do
    if string.sub(field, 1, #prefix) == prefix then
      found[string.sub(field, #prefix + 1)] = value
    end
  end
  return found
end
