//! Azure Resource Manager as AKS documents it.
