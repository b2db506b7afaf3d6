// What may be reached below a directory on Windows, where names have more meanings than files.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "platform/directory.h"
#include "platform/file.h"
#include "support/files.h"

namespace pyre::platform {
namespace {

class BeneathWindows : public ::testing::Test {
 protected:
  BeneathWindows() {
    std::filesystem::create_directories(folder.path() / "root/sub");
    std::filesystem::create_directories(folder.path() / "root2");
    folder.make_file("secret", "secret");
    folder.make_file("root2/secret", "secret");
    folder.make_file("root/file.txt", "file");
    folder.make_file("root/.env", "secret");
    folder.make_file("root/sub/file.txt", "deep");
    directory = std::move(Directory::open(folder.file("root").c_str()).value());
  }
  bool opens(const char* name) {
    const auto file = directory->open_beneath(name);
    if (!file.has_value()) return false;
    close_file(file.value());
    return true;
  }
  const pyre::test::TemporaryFolder folder;
  std::unique_ptr<Directory> directory;
};

TEST_F(BeneathWindows, files_and_folders_are_found_by_any_case) {
  for (const char* name : {"file.txt", "FILE.TXT", "sub/file.txt", "Sub/File.txt", "sub", ""})
    EXPECT_TRUE(opens(name)) << name;
  EXPECT_FALSE(opens("none"));
  EXPECT_FALSE(directory->is_known_missing("none"));
}

TEST_F(BeneathWindows, nothing_leads_out_even_unchecked) {
  for (const char* name :
       {"../secret", "..\\secret", "sub/../../secret", "../root2/secret", "/", "C:/", "nul", "sub/.."})
    EXPECT_FALSE(opens(name)) << name;
}

// Its short name, where the volume has such, shows no dot: so it is the final path that is looked at.
TEST_F(BeneathWindows, a_dot_file_is_not_found_by_any_name) { EXPECT_FALSE(opens(".env")); }

TEST_F(BeneathWindows, a_name_that_is_no_utf_8_names_nothing) { EXPECT_FALSE(opens("\xff\xfe")); }

TEST_F(BeneathWindows, a_directory_that_is_a_file_is_none) {
  EXPECT_FALSE(Directory::open(folder.file("secret").c_str()).has_value());
  EXPECT_FALSE(Directory::open(folder.file("none").c_str()).has_value());
}

}  // namespace
}  // namespace pyre::platform
