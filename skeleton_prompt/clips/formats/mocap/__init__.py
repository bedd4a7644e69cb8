"""Motion capture files: BVH and Acclaim (ASF/AMC), forward kinematics, and the mapping to the canonical joints."""
