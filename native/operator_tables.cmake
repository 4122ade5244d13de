# The tables of operators are made from the files there are, so that a new operator is a new file and nothing else.
# (Objects that register themselves from static initialisers would be dropped by the linker: these are static libraries.)

# native/core/operators/NAME.h declares wbsr::operators::NAME (core/operator.h). Sets `result` to the table's source.
function(wbsr_core_operator_table result)
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/native/core/operators/*.h)
  set(includes "")
  set(entries "")
  foreach(header ${headers})
    get_filename_component(name ${header} NAME_WE)
    string(APPEND includes "#include \"core/operators/${name}.h\"\n")
    string(APPEND entries "operators::${name}, ")
  endforeach()
  set(source ${CMAKE_BINARY_DIR}/generated/core_operators.cc)
  file(CONFIGURE OUTPUT ${source} CONTENT "// Generated from native/core/operators (native/operator_tables.cmake).
${includes}
namespace wbsr {
const std::vector<OperatorEntry>& operatorTable() {
  static const std::vector<OperatorEntry> table{${entries}};
  return table;
}
}  // namespace wbsr
" @ONLY)
  set(${result} ${source} PARENT_SCOPE)
endfunction()

# native/DEVICE/operators/NAME.cc or NAME.cu defines void wbsr::DEVICE::register_NAME(Registry&) (DEVICE/registry.h),
# which registers the kinds of steps that it runs. Sets `result` to these sources and the table's.
function(wbsr_device_operator_table device result)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/native/${device}/operators/*.cc
    ${CMAKE_SOURCE_DIR}/native/${device}/operators/*.cu)
  set(declarations "")
  set(calls "")
  foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    string(APPEND declarations "void register_${name}(Registry&);\n")
    string(APPEND calls "  register_${name}(registry);\n")
  endforeach()
  set(table ${CMAKE_BINARY_DIR}/generated/${device}_operators.cc)
  file(CONFIGURE OUTPUT ${table} CONTENT "// Generated from native/${device}/operators (native/operator_tables.cmake).
#include \"${device}/registry.h\"

namespace wbsr::${device} {
${declarations}
void registerOperators(Registry& registry) {
${calls}}
}  // namespace wbsr::${device}
" @ONLY)
  set(${result} ${sources} ${table} PARENT_SCOPE)
endfunction()
