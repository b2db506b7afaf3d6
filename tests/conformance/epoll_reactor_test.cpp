// The conformance suite against epoll, over TCP and over unix sockets, and what only a kernel can show.
#include "conformance/epoll_harness.h"

namespace pyre::platform::test {
namespace {

INSTANTIATE_TEST_SUITE_P(
    Epoll, ReactorConformance,
    testing::Values(HarnessMaker{"tcp", [] { return std::unique_ptr<Harness>(new EpollHarness(false)); }},
                    HarnessMaker{"unix", [] { return std::unique_ptr<Harness>(new EpollHarness(true)); }}),
    harness_name);

}  // namespace
}  // namespace pyre::platform::test
