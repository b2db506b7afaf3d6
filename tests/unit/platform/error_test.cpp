#include "platform/error.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace pyre::platform {
namespace {

TEST(Error, every_code_has_a_name_of_its_own) {
  std::map<std::string, int> names;
  for (int code = 0; code <= static_cast<int>(Errc::other); ++code) ++names[errc_name(static_cast<Errc>(code))];
  EXPECT_EQ(names.size(), static_cast<std::size_t>(Errc::other) + 1);
  EXPECT_EQ(names.count("?"), 0U);
}

}  // namespace
}  // namespace pyre::platform
