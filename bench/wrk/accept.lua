-- GETs with the Accept-Encoding that the script's first argument names.
function init(args)
  message = wrk.format("GET", nil, { ["Accept-Encoding"] = args[1] or "gzip" })
end

function request()
  return message
end

dofile((os.getenv("BENCH_WRK_DIR") or "bench/wrk") .. "/report.lua")
