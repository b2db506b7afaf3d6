#include "platform/reactor.h"

#if defined(__linux__)
#include "platform/linux/epoll_reactor.h"
#elif defined(_WIN32)
#include "platform/windows/iocp_reactor.h"
#else
#error "no reactor backend for this system yet"
#endif

namespace pyre::platform {

Expected<std::unique_ptr<Reactor>> make_reactor(BufferSource& buffers, const ReactorOptions& options) noexcept {
#if defined(__linux__)
  return EpollReactor::make(buffers, options);
#else
  return IocpReactor::make(buffers, options);
#endif
}

}  // namespace pyre::platform
