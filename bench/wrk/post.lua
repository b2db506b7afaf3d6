-- POSTs a body of as many bytes as the script's first argument says (1024 by default).
function init(args)
  local size = tonumber(args[1]) or 1024
  local body = string.rep("x", size)
  message = wrk.format("POST", nil, { ["Content-Type"] = "application/octet-stream" }, body)
end

function request()
  return message
end

dofile((os.getenv("BENCH_WRK_DIR") or "bench/wrk") .. "/report.lua")
